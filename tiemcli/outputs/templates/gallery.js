const form = document.getElementById("filters");
const list = document.getElementById("cards");
const cards = [...list.children];
const ASCENDING = ["name", "label"];

function order(key) {
  const failed = (card) => ["failed", "short", "warned"].findIndex((state) => card.dataset.state.split(" ").includes(state));
  const rank = (card) => (failed(card) < 0 ? 3 : failed(card));
  const byName = (a, b) => a.dataset.name.localeCompare(b.dataset.name);
  if (key === "failure") return (a, b) => rank(a) - rank(b) || byName(a, b);
  if (ASCENDING.includes(key)) return (a, b) => a.dataset[key].localeCompare(b.dataset[key]) || byName(a, b);
  const number = (card) => (card.dataset[key] === "" ? -Infinity : Number(card.dataset[key]));
  return (a, b) => (number(a) === number(b) ? byName(a, b) : number(b) - number(a));
}

function refresh() {
  const asked = form.elements;
  const above = (card, name) => {
    const input = asked[name];
    return input.value === input.min || (card.dataset[name] !== "" && Number(card.dataset[name]) >= Number(input.value));
  };
  let shown = 0;
  for (const card of cards) {
    const { label, state } = card.dataset;
    const wanted = (!asked.label.value || asked.label.value === label)
      && (!asked.state.value || state.split(" ").includes(asked.state.value))
      && above(card, "score") && above(card, "concentration");
    card.hidden = !wanted;
    shown += wanted;
  }
  for (const name of ["score", "concentration"]) {
    document.getElementById(`${name}-now`).textContent = Number(asked[name].value).toFixed(2);
  }
  list.append(...[...cards].sort(order(asked.sort.value)));
  document.getElementById("count").textContent = `${shown} of ${cards.length} shown`;
}

form.addEventListener("input", refresh);
form.addEventListener("submit", (event) => event.preventDefault());
refresh();
