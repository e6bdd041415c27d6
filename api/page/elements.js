// Elements and tables. Whatever comes from outside becomes text, never markup.
const byId = (id) => document.getElementById(id);

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// A name breaks, where it may, only if it is long; the style knows how long fits. (A <wbr> would be read out as a blank.)
function nameOf(text) {
  return element("code", text.length > 32 ? "long" : text.length > 24 ? "medium" : "", text);
}

function badge(text, kind) {
  const made = element("span", "badge", text);
  made.dataset.kind = kind;
  return made;
}

function say(id, text) {
  // A live region is read out when it changes, so only then.
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

// A cell is text, or {text, code, badge, kind, note, value}: what stays the same stays untouched, with a selection in it.
function show(place, cell) {
  const now = JSON.stringify(cell);
  if (place.shown === now) return;
  place.shown = now;
  const { text = "", code, badge: word, kind, note, value } = typeof cell === "string" ? { text: cell } : cell;
  const parts = [];
  if (text) parts.push(element("span", text.length <= 16 ? "brief" : "", text));
  if (code) parts.push(nameOf(code));
  if (word) parts.push(badge(word, kind));
  if (value !== undefined) parts.push(value === null ? element("span", "absent", "null") : element("span", "value", value));
  if (note) parts.push(element("span", "note", note));
  place.replaceChildren(...(parts.length ? [element("div", "cell", ...parts)] : []));
}

function fill(table, rows) {
  const columns = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  rows.forEach((cells, number) => {
    const row = body.rows[number] ?? body.appendChild(emptyRow(columns));
    cells.forEach((cell, column) => show(row.cells[column], cell));
  });
  while (body.rows.length > rows.length) body.lastElementChild.remove();
  table.hidden = rows.length === 0;
}

function emptyRow(columns) {
  const row = element("tr", "", ...columns.map(emptyCell));
  row.setAttribute("role", "row");
  return row;
}

function emptyCell(column, number) {
  const cell = element(number ? "td" : "th");
  cell.setAttribute("role", number ? "cell" : "rowheader");
  if (!number) cell.scope = "row";
  if ("number" in column.dataset) cell.dataset.number = "";
  cell.dataset.label = column.textContent;
  return cell;
}
