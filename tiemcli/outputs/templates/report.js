const evidence = JSON.parse(document.getElementById("evidence").textContent);
const element = (id) => document.getElementById(id);
const film = element("film");
const timeline = element("timeline");
const slider = element("area");
const { times, seconds, rate, masks } = evidence;
const frames = [...document.querySelectorAll(".frame")];
const shapes = masks.map((mask) => mask.outlines.map((path) => new Path2D(path)));
const HIDDEN = 0.16; // of the light is left where nothing is kept

const say = (score) => (Math.abs(score) < 10 ? score.toFixed(3) : score.toPrecision(4));
const percent = (share) => `${Number((100 * share).toFixed(share < 0.0995 ? 1 : 0))}\u00a0%`;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

let area = evidence.shown;

/* What is kept is painted over the very frame that plays, so both pictures are always in step. */
const canvas = element("kept");
const pen = canvas.getContext("2d");
const layer = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
const kept = layer.getContext("2d");

function paint() {
  const { width, height } = canvas;
  const time = film.currentTime;
  const after = times.findIndex((known) => known > time);
  const next = after < 0 ? times.length - 1 : after;
  const last = after < 0 ? next : Math.max(after - 1, 0);
  const share = next > last ? clamp((time - times[last]) / (times[next] - times[last]), 0, 1) : 0;

  kept.globalCompositeOperation = "source-over";
  kept.clearRect(0, 0, width, height);
  kept.globalAlpha = 1 - share;
  kept.fill(shapes[area][last], "evenodd");
  kept.globalCompositeOperation = "lighter";
  kept.globalAlpha = share;
  kept.fill(shapes[area][next], "evenodd");
  kept.globalCompositeOperation = "source-in";
  kept.globalAlpha = 1;
  kept.drawImage(film, 0, 0, width, height);

  pen.globalCompositeOperation = "copy";
  pen.drawImage(film, 0, 0, width, height);
  pen.globalCompositeOperation = "saturation";
  pen.fillStyle = "#808080";
  pen.fillRect(0, 0, width, height);
  pen.globalCompositeOperation = "source-over";
  pen.fillStyle = `rgb(0 0 0 / ${1 - HIDDEN})`;
  pen.fillRect(0, 0, width, height);
  pen.drawImage(layer, 0, 0);
}

function tell() {
  const time = clamp(film.currentTime, 0, seconds);
  element("head").style.left = `${(100 * time) / seconds}%`;
  element("now").textContent = time.toFixed(2);
  timeline.setAttribute("aria-valuenow", time.toFixed(3));
  timeline.setAttribute("aria-valuetext", `${time.toFixed(2)} seconds`);
  const nearest = nearestFrame(time);
  frames.forEach((frame, index) => {
    if (index === nearest) frame.setAttribute("aria-current", "true");
    else frame.removeAttribute("aria-current");
  });
}

function nearestFrame(time) {
  return times.reduce((best, known, i) => (Math.abs(known - time) < Math.abs(times[best] - time) ? i : best), 0);
}

function refresh() {
  tell();
  paint();
}

function follow() {
  refresh();
  if (!film.paused) requestAnimationFrame(follow);
}

/* A quarter of a frame late, because a time on the border of two frames may show either. */
function seek(time) {
  film.currentTime = clamp(time + 0.25 / rate, 0, seconds - 0.5 / rate);
  tell();
}

function step(by) {
  film.pause();
  seek((Math.floor(film.currentTime * rate + 0.01) + by) / rate);
}

function stepSampled(by) {
  film.pause();
  seek(times[clamp(nearestFrame(film.currentTime) + by, 0, times.length - 1)]);
}

function toggle() {
  if (film.paused) film.play();
  else film.pause();
}

function choose(index) {
  area = clamp(index, 0, masks.length - 1);
  const mask = masks[area];
  frames.forEach((frame, i) => {
    const shade = frame.querySelector(".shade");
    shade.setAttribute("d", shade.dataset.whole + mask.outlines[i]);
    frame.querySelector(".edge").setAttribute("d", mask.outlines[i]);
  });
  document.querySelectorAll("[data-area]").forEach((place) => { place.textContent = percent(mask.area); });
  document.querySelector("[data-score]").textContent = say(mask.score);
  const length = document.querySelector("[data-length]");
  length.style.width = `${Math.max((100 * mask.score) / Number(length.dataset.length), 0)}%`;
  for (const place of [element("enough"), element("kept-name")]) {
    place.textContent = mask.enough ? place.dataset.yes : place.dataset.no;
  }
  document.querySelectorAll(".point").forEach((point) => {
    point.setAttribute("aria-pressed", String(Number(point.dataset.mask) === area));
  });
  if (slider) {
    slider.value = area;
    slider.setAttribute("aria-valuetext", `${percent(mask.area)}, score ${say(mask.score)}`);
  }
  paint();
}

film.addEventListener("play", () => {
  document.body.classList.add("playing");
  element("play").setAttribute("aria-label", "Pause");
  follow();
});
film.addEventListener("pause", () => {
  document.body.classList.remove("playing");
  element("play").setAttribute("aria-label", "Play");
});
film.addEventListener("seeked", refresh);
film.addEventListener("loadeddata", refresh);
film.addEventListener("loadedmetadata", () => seek(times[evidence.peak]), { once: true });
if (film.readyState >= 1) seek(times[evidence.peak]);
/* Some browsers play no video from a data: address, but all play the same bytes from a blob. */
film.addEventListener("error", () => {
  const bytes = Uint8Array.from(atob(film.src.split(",")[1]), (letter) => letter.charCodeAt(0));
  film.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
}, { once: true });

for (const button of [element("play"), element("start"), film]) button.addEventListener("click", toggle);
if (slider) slider.addEventListener("input", () => choose(Number(slider.value)));
frames.forEach((frame, index) => frame.addEventListener("click", () => {
  film.pause();
  seek(times[index]);
}));

const pointAt = (event) => {
  const box = timeline.getBoundingClientRect();
  seek((clamp((event.clientX - box.left) / box.width, 0, 1)) * seconds);
};
timeline.addEventListener("pointerdown", (event) => {
  timeline.setPointerCapture(event.pointerId);
  pointAt(event);
});
timeline.addEventListener("pointermove", (event) => {
  if (timeline.hasPointerCapture(event.pointerId)) pointAt(event);
});

const KEYS = {
  " ": toggle,
  ArrowLeft: (event) => (event.shiftKey ? stepSampled(-1) : step(-1)),
  ArrowRight: (event) => (event.shiftKey ? stepSampled(1) : step(1)),
  Home: () => seek(0),
  End: () => seek(seconds),
  "[": () => choose(area - 1),
  "]": () => choose(area + 1),
};
document.addEventListener("keydown", (event) => {
  const busy = event.key === " " ? "button, summary, .point" : "input, #heat, pre";
  const scrolls = ["Home", "End"].includes(event.key) && event.target !== timeline;
  if (event.ctrlKey || event.metaKey || event.altKey || scrolls || event.target.closest(busy)) return;
  if (!KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key](event);
});
