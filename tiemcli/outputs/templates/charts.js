document.querySelectorAll(".point").forEach((mark) => {
  const index = Number(mark.dataset.mask);
  mark.addEventListener("click", () => choose(index));
  mark.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    choose(index);
  });
});

element("copy").addEventListener("click", async () => {
  const command = element("command");
  try {
    await navigator.clipboard.writeText(command.textContent);
    element("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(command); // the person copies it by a key
    element("copy").textContent = "Selected";
  }
  setTimeout(() => { element("copy").textContent = "Copy"; }, 2000);
});
