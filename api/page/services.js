// GET /feature-services: what can be asked for. Features are described when their service is opened, or looked up.
let services = { version: null, byName: new Map() };

async function showServices(version) {
  const { answer } = await ask("feature-services");
  services = { version, byName: new Map(answer.feature_services.map((service) => [service.name, { ...service, described: null }])) };
  byId("service-list").replaceChildren(...answer.feature_services.map(serviceDetails));
  const servable = answer.feature_services.filter((service) => !service.problem);
  byId("service").replaceChildren(...servable.map((service) => new Option(service.name, service.name, service.default, service.default)));
  showKeys();
}

function showWatermarks(status) {
  const names = [...services.byName.keys()];
  byId("no-services").hidden = names.length > 0;
  byId("look-up").hidden = names.length === 0;
  for (const place of document.querySelectorAll("details .note")) {
    const { watermark, problem } = status.feature_services[place.dataset.service] ?? {};
    const state = watermark ? `watermark ${instant(watermark)}` : "not materialized yet";
    show(place, problem ? "cannot be served" : `${place.dataset.about} · ${state}`);
  }
}

function serviceDetails(service) {
  const note = element("span", "note");
  note.dataset.service = service.name;
  note.dataset.about = `${several(service.features.length, "feature")} ${keyedBy(service)}`;
  const name = nameOf(service.name), mark = service.default ? [badge("default", "plain")] : [];
  const made = element("details", "", element("summary", "", name, ...mark, note));
  if (service.problem) made.append(element("p", "quiet", `${service.problem}.`));
  else made.addEventListener("toggle", () => made.open && describe(service.name, made));
  made.open = service.default;
  return made;
}

function keyedBy(service) {
  const names = service.join_keys.map((joinKey) => joinKey.name);
  return names.length ? `keyed by ${names.join(" and ")}` : "without a join key";
}

async function describe(name, place) {
  if (place.described) return;
  try {
    const service = await description(name);
    if (place.described) return;
    place.described = true;
    const text = [service.description, service.owner && `Owner: ${service.owner}`].filter(Boolean).join(" · ");
    const table = byId("features-table").content.cloneNode(true).querySelector("table");
    table.caption.textContent = `Features of ${name}`;
    fill(table, service.features.map(featureRow));
    place.append(...(text ? [element("p", "quiet", text)] : []), table);
  } catch (failure) {
    place.open = false;
    failed(failure);
  }
}

async function description(name) {
  const service = services.byName.get(name);
  service.described ??= (await ask(`feature-services/${encodeURIComponent(name)}`)).answer;
  return service.described;
}

function featureRow(feature) {
  return [{ code: feature.name }, feature.type, { code: feature.feature_view }, origin(feature), feature.description];
}

// Where a feature's value comes from: a table, or other features.
function origin(feature) {
  if (feature.inputs) return { text: "computed on demand", note: feature.inputs.length ? `from ${feature.inputs.join(", ")}` : "" };
  return { code: feature.source };
}
