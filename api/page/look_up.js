// POST /features for one entity: any id, whatever its characters and however many join keys, and none in an address.
const STATUSES = {
  PRESENT: ["good", "a value"],
  NULL_VALUE: ["plain", "the source has no value: it does not apply, or is unknown"],
  OUTSIDE_MAX_AGE: ["warn", "older than the ttl of its feature view, so not shown"],
  NOT_FOUND: ["plain", "never written for this entity"],
};
let lookUps = 0;

function showKeys() {
  const keys = services.byName.get(byId("service").value)?.join_keys ?? [];
  const now = JSON.stringify(keys), place = byId("keys");
  if (place.shown === now) return;
  place.shown = now;
  place.replaceChildren(...keys.map(keyField));
  place.hidden = keys.length === 0;
}

function keyField({ name }, number) {
  const label = element("label", "", element("code", "", name)), input = element("input");
  label.htmlFor = input.id = `join-key-${number}`;
  Object.assign(input, { name, required: true, autocomplete: "off", spellcheck: false, autocapitalize: "off" });
  return element("div", "field", label, input);
}

async function lookUp(event) {
  event.preventDefault();
  const mine = ++lookUps, name = byId("service").value;
  const entity = [...byId("keys").querySelectorAll("input")].map((input) => [input.name, input.value]);
  const entities = Object.fromEntries(entity.map(([joinKey, id]) => [joinKey, [id]]));
  say("answer", "Asking …");
  try {
    const service = await description(name);
    const { answer } = await ask("features", { entities, feature_service: name, metadata: true });
    if (mine === lookUps) showAnswer(service, entity, answer.results[0]);
  } catch (failure) {
    if (mine === lookUps) refuseAnswer(failure);
  }
}

function showAnswer(service, entity, result) {
  const who = entity.map(([joinKey, id]) => `${joinKey} “${id}”`).join(", ") || service.name;
  clearAnswer();
  if (!result.found) return say("answer", `The online store holds no features of ${who}.`);
  if (result.problem) return say("answer", result.problem.detail);
  const statuses = service.features.map((feature) => result.metadata[feature.name].status);
  const present = statuses.filter((status) => status === "PRESENT").length;
  const asked = new Date().toISOString().slice(11, 19);
  say("answer", `${who}: ${present} of ${several(statuses.length, "feature")} have a value. Asked at ${asked} UTC.`);
  say("answer-caption", `Features of ${who} in ${service.name}`);
  fill(byId("answer-table"), service.features.map((feature) => answerRow(feature, result)));
  const others = Object.keys(STATUSES).filter((status) => status !== "PRESENT" && statuses.includes(status));
  byId("meanings").replaceChildren(...others.map((status) => element("div", "", element("dt", "", status), element("dd", "", STATUSES[status][1]))));
}

function answerRow(feature, { features, metadata }) {
  const { status, age } = metadata[feature.name], value = features[feature.name];
  return [
    { code: feature.name },
    { value: value === null ? null : valueText(value) },
    { badge: status, kind: STATUSES[status]?.[0] ?? "plain" },
    age === null ? "" : duration(Math.floor(age)),
    origin(feature),
  ];
}

function valueText(value) {
  if (Array.isArray(value)) return `[${value.map(valueText).join(", ")}]`;
  if (value !== null && typeof value === "object") return JSON.stringify(value, (_, inner) => (typeof inner === "bigint" ? String(inner) : inner));
  return value === "" ? "(empty text)" : String(value);
}

function clearAnswer() {
  say("answer", "");
  fill(byId("answer-table"), []);
  byId("meanings").replaceChildren();
}

function refuseAnswer(failure) {
  clearAnswer();
  if (failure instanceof KeyAskedFor) return failed(failure);
  say("answer", failure.message);
}
