// Asks again and again, and says so when nobody answers.
const INTERVAL_MS = 5000;
let timer, latest = 0, heardAt = null;

async function refresh() {
  const mine = ++latest;
  clearTimeout(timer);
  try {
    const { answer: status, now } = await ask("status");
    if (mine !== latest) return;
    const version = status.plan?.version ?? null;
    if (version !== null && version !== services.version) await showServices(version);
    if (mine !== latest) return;
    heard();
    showStatus(status, now);
    showWatermarks(status);
  } catch (failure) {
    if (mine === latest) failed(failure);
  }
  if (mine === latest && byId("key-form").hidden) timer = setTimeout(refresh, INTERVAL_MS);
}

function heard() {
  heardAt = new Date().toISOString().slice(11, 19);
  say("heard", `Answered at ${heardAt} UTC, asked again every ${INTERVAL_MS / 1000} s`);
  if (byId("key-form").hidden) return;
  byId("key-form").hidden = true;
  byId("title").focus();
}

function failed(failure) {
  if (failure instanceof KeyAskedFor) return askForKey();
  const before = heardAt ? ` What is shown here was its answer at ${heardAt} UTC.` : "";
  showNotices([["bad", failure.message + before]]);
  say("heard", `No answer, asked again every ${INTERVAL_MS / 1000} s`);
}

function askForKey() {
  const wasShown = !byId("key-form").hidden;
  forget();
  byId("key-form").hidden = false;
  say("key-refused", key === null ? "" : "This key is not valid.");
  say("heard", "An API key is needed");
  if (wasShown || key !== null) byId("key").focus();
}

// Nothing stays of what a key has shown.
function forget() {
  heardAt = null;
  services = { version: null, byName: new Map() };
  byId("data").hidden = byId("parts").hidden = true;
  showNotices([]);
  clearAnswer();
  for (const id of ["views-table", "runs-table"]) fill(byId(id), []);
  for (const id of ["service-list", "service", "keys"]) byId(id).replaceChildren();
  byId("keys").shown = undefined;
  for (const id of ["rate", "failed", "p50", "p99", "window", "plan", "answer-caption"]) say(id, "");
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = byId("key").value;
  byId("key").value = "";
  say("key-refused", "");
  refresh();
});
byId("look-up-form").addEventListener("submit", lookUp);
byId("service").addEventListener("change", showKeys);
document.addEventListener("visibilitychange", () => document.hidden ? clearTimeout(timer) : refresh());
refresh();
