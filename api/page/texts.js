// Numbers, durations and instants as people read them. Instants come as RFC 3339 in UTC.
const NBSP = "\u00a0";
const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

function duration(seconds) {
  if (seconds < 10) return `${Number(seconds.toFixed(1))}${NBSP}s`;
  const first = UNITS.findIndex(([, size]) => seconds >= size);
  const [unit, size] = UNITS[first];
  const whole = Math.floor(seconds / size);
  const [smaller, part] = UNITS[first + 1] ?? ["", Infinity];
  const rest = Math.floor((seconds - whole * size) / part);
  return rest && whole < 10 ? `${whole}${NBSP}${unit} ${rest}${NBSP}${smaller}` : `${count(whole)}${NBSP}${unit}`;
}

function count(number) {
  return number.toLocaleString("en");
}

function instant(text) {
  return text.slice(0, 16).replace("T", NBSP);
}

function since(text, now) {
  const seconds = (now - Date.parse(text)) / 1000;
  return seconds < 1 ? "just now" : `${duration(Math.floor(seconds))} ago`;
}

function between(start, end) {
  return duration(Math.max(0, Date.parse(end) - Date.parse(start)) / 1000);
}

function several(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}
