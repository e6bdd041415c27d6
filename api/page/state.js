// GET /status: what is the matter, traffic, feature views, runs.
const LOCK_HELD = 75;
const EXITS = { 2: "wrong usage", 3: "bad data", [LOCK_HELD]: "another run was at work" };

function showStatus(status, now) {
  byId("data").hidden = byId("parts").hidden = false;
  showNotices(notices(status));
  showTraffic(status.recent_traffic);
  const views = Object.entries(status.feature_views);
  fill(byId("views-table"), views.map(([name, view]) => viewRow(name, view, status.freshness_reference, now)));
  byId("no-views").hidden = views.length > 0;
  const newest = status.runs.find((run) => run.exit_code !== LOCK_HELD);
  fill(byId("runs-table"), status.runs.map((run) => runRow(run, run === newest, now)));
  byId("no-runs").hidden = status.runs.length > 0;
  const plan = status.plan && `Serving plan ${status.plan.version.slice(0, 12)}, loaded ${instant(status.plan.loaded_at)}. `;
  const reference = status.freshness_reference === "now" ? "from now" : "from the watermark of each feature view";
  say("plan", `${plan ?? ""}All instants are UTC. Ages of values are counted ${reference}.`);
}

function showNotices(wanted) {
  const list = byId("notices"), now = JSON.stringify(wanted);
  if (list.shown === now) return;
  list.shown = now;
  list.dataset.kind = ["bad", "warn", "good"].find((kind) => wanted.some(([other]) => other === kind)) ?? "plain";
  list.replaceChildren(...wanted.map(([kind, text]) => {
    const item = element("li", "", text);
    item.dataset.kind = kind;
    return item;
  }));
}

function notices(status) {
  const views = Object.entries(status.feature_views);
  const named = (wanted) => views.filter(([, view]) => wanted(view)).map(([name]) => name).join(", ");
  const missing = named((view) => !view.materialized), old = named((view) => view.materialized && !view.fresh);
  const found = [];
  if (status.online_store !== "reachable")
    found.push(["bad", "The online store does not answer: features cannot be read. What is shown here was known before."]);
  if (!status.plan) found.push(["warn", "No serving plan is known yet: apply has to publish one."]);
  for (const [name, { problem }] of Object.entries(status.feature_services))
    if (problem) found.push(["bad", `Feature service ${name} cannot be served: ${problem}.`]);
  if (missing) found.push(["warn", `Not materialized yet: ${missing}. Feature services that need it are answered with 503.`]);
  if (old && status.freshness_reference === "now")
    found.push(["warn", `Stale: ${old}. Older than its ttl, so its values are null with status OUTSIDE_MAX_AGE.`]);
  found.push(...ofRuns(status.runs));
  if (!found.some(([kind]) => kind !== "plain")) found.unshift(["good", allIsWell(views, old)]);
  if (old && status.freshness_reference !== "now")
    found.push(["plain", "Ages are counted from the watermark, not from now: values of historic months are served as if they were the present."]);
  return found;
}

function ofRuns(runs) {
  const own = runs.filter((run) => run.exit_code !== LOCK_HELD), ended = own.find((run) => run.finished_at);
  const found = [];
  if (!own.length) found.push(["warn", "No materialization has run yet."]);
  if (ended && ended.exit_code !== 0)
    found.push(["warn", `The last materialization failed at ${instant(ended.finished_at)} (${exit(ended.exit_code)}).`]);
  if (own.length && !own[0].finished_at)
    found.push(["plain", `A materialization that started at ${instant(own[0].started_at)} has not ended.`]);
  return found;
}

function allIsWell(views, old) {
  const all = views.length === 1 ? "The one feature view is" : `All ${views.length} feature views are`;
  return old ? `${all} materialized.` : `${all} fresh.`;
}

function exit(code) {
  return code in EXITS ? `exit ${code}: ${EXITS[code]}` : `exit ${code}`;
}

function showTraffic(traffic) {
  const nothing = traffic.requests === 0, shown = (number) => (nothing ? "–" : number);
  say("rate", count(Number(traffic.requests_per_second.toPrecision(3))));
  say("failed", shown(`${Number((traffic.failed_share * 100).toPrecision(2))} %`));
  byId("failed").classList.toggle("alarming", traffic.failed_share > 0);
  say("p50", shown(`${milliseconds(traffic.p50_ms)} ms`));
  say("p99", shown(`${milliseconds(traffic.p99_ms)} ms`));
  const read = nothing ? "no features were read" : `${several(traffic.requests, "call")} that read features`;
  say("window", `This process of the gateway, its last ${Math.round(traffic.seconds)} s: ${read}.`);
}

function milliseconds(number) {
  return count(Number((number ?? 0).toPrecision(2)));
}

function viewRow(name, view, reference, now) {
  const ttl = view.ttl_seconds === null ? "any age" : duration(view.ttl_seconds);
  if (!view.materialized) return [{ code: name }, { badge: "not materialized", kind: "warn" }, "", "", ttl, "", ""];
  const state = view.fresh ? ["fresh", "good"] : reference === "now" ? ["stale", "warn"] : ["historic", "plain"];
  return [
    { code: name },
    { badge: state[0], kind: state[1] },
    instant(view.watermark),
    duration(Math.floor(view.age)),
    ttl,
    count(view.rows),
    { text: instant(view.finished_at), note: `${since(view.finished_at, now)}, took ${between(view.started_at, view.finished_at)}` },
  ];
}

function runRow(run, isNewest, now) {
  const start = { text: instant(run.started_at), note: since(run.started_at, now) };
  if (!run.finished_at) {
    const state = isNewest ? { badge: "running", kind: "plain" } : { badge: "died", kind: "bad" };
    return [start, state, "", isNewest ? "No end is known: it is at work, or died." : "No end is known: it died."];
  }
  const took = between(run.started_at, run.finished_at);
  if (run.exit_code === 0) return [start, { badge: "done", kind: "good" }, took, run.summary ?? ""];
  const state = run.exit_code === LOCK_HELD ? { badge: "held off", kind: "plain" } : { badge: "failed", kind: "bad" };
  return [start, state, took, exit(run.exit_code)];
}
