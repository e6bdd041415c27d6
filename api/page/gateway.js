// The gateway's JSON calls, at the address of this page.
const PATIENCE_MS = 4000;
let key = null;

class Failure extends Error {}
class KeyAskedFor extends Failure {}

async function ask(path, question) {
  const headers = key === null ? {} : { Authorization: `Bearer ${latin1(key)}` };
  const options = { headers, cache: "no-store", redirect: "error", signal: AbortSignal.timeout(PATIENCE_MS) };
  if (question) {
    Object.assign(options, { method: "POST", body: JSON.stringify(question) });
    headers["Content-Type"] = "application/json";
  }
  let response, text;
  try {
    response = await fetch(path, options);
    text = await response.text();
  } catch {
    throw new Failure("The gateway does not answer.");
  }
  if (response.status === 401) throw new KeyAskedFor();
  const answer = parsed(text);
  if (response.ok && answer) return { answer, now: Date.parse(response.headers.get("date")) || Date.now() };
  throw new Failure(answer?.detail ?? `The gateway does not answer; what stands before it says ${response.status}.`);
}

// A header holds bytes; the gateway takes a key as UTF-8.
function latin1(text) {
  return String.fromCharCode(...new TextEncoder().encode(text));
}

// Whole numbers keep all their digits.
function parsed(text) {
  try {
    return JSON.parse(text, (_, value, context) =>
      typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "")
        ? BigInt(context.source)
        : value);
  } catch {
    return undefined;
  }
}
