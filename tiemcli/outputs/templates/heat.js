const heat = element("heat");
const tip = element("heat-tip");
const covered = heat.querySelector(".covered");
let cursor = null;

function point(cell) {
  cursor = cell;
  const [size, start] = [Number(cell.dataset.size), Number(cell.dataset.start)];
  const drop = evidence.windows[size][start];
  const last = start + size - 1;
  const names = size === 1 ? `Frame ${start + 1}` : `Frames ${start + 1}–${last + 1}`;
  const span = size === 1 ? `${times[start].toFixed(2)} s` : `${times[start].toFixed(2)}–${times[last].toFixed(2)} s`;
  const sign = drop < 0 ? "rises" : "falls";
  tip.textContent = `${names} (${span}) hidden: the score ${sign} by ${say(Math.abs(drop))}`;
  tip.hidden = false;
  const mark = heat.querySelector(".cursor");
  for (const side of ["x", "y", "width", "height"]) mark.setAttribute(side, cell.getAttribute(side));
  covered.classList.add("some");
  [...covered.children].forEach((bar, i) => bar.classList.toggle("in", i >= start && i <= last));

  const [box, around] = [cell.getBoundingClientRect(), heat.getBoundingClientRect()];
  const left = box.left + box.width / 2 - around.left - tip.offsetWidth / 2;
  const above = box.top - around.top - tip.offsetHeight - 8;
  tip.style.left = `${clamp(left, 0, around.width - tip.offsetWidth)}px`;
  tip.style.top = `${above < -60 ? box.bottom - around.top + 8 : above}px`;
}

function leave() {
  cursor = null;
  tip.hidden = true;
  heat.querySelector(".cursor").setAttribute("width", "0");
  covered.classList.remove("some");
}

const cellAt = (size, start) => heat.querySelector(`[data-size="${size}"][data-start="${start}"]`);
heat.addEventListener("pointermove", (event) => {
  const cell = event.target.closest("[data-size]");
  if (cell) point(cell);
  else leave();
});
heat.addEventListener("pointerleave", leave);
heat.addEventListener("blur", leave);
heat.addEventListener("focus", () => {
  if (heat.matches(":focus-visible") && !cursor) point(cellAt(Object.keys(evidence.windows)[0], evidence.peak) || heat.querySelector("[data-size]"));
});
heat.addEventListener("keydown", (event) => {
  if (!cursor) return;
  const sizes = Object.keys(evidence.windows).map(Number).sort((a, b) => a - b);
  const row = sizes.indexOf(Number(cursor.dataset.size));
  const start = Number(cursor.dataset.start);
  const moves = { ArrowLeft: [row, start - 1], ArrowRight: [row, start + 1], ArrowUp: [row + 1, start], ArrowDown: [row - 1, start] };
  if (event.key === "Escape") leave();
  if (!moves[event.key]) return;
  event.preventDefault();
  const [nextRow, nextStart] = moves[event.key];
  const cell = cellAt(sizes[nextRow], nextStart);
  if (cell) point(cell);
});
