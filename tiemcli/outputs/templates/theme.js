{
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  const button = document.getElementById("theme");
  const tell = () => button.setAttribute("aria-pressed", String(chosen() === "dark"));
  try {
    root.dataset.theme = localStorage.getItem("tiem.theme") || "";
  } catch { /* a browser may forbid storage to files */ }
  button.addEventListener("click", () => {
    root.dataset.theme = chosen() === "dark" ? "light" : "dark";
    tell();
    try {
      localStorage.setItem("tiem.theme", root.dataset.theme);
    } catch { /* then the choice lasts as long as the page */ }
  });
  dark.addEventListener("change", tell);
  tell();
}
