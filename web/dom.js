// Elements made of data. Data becomes text, never markup: nothing in this page parses HTML, so a tag's value cannot be more than
// what it says.

const CUT_FROM = 32; // a text as long as this may not fit: the title has all of it
const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

// h("p", {class: "x", onclick: f}, "text", node ...)
export function h(tag, props, ...children) {
	const e = document.createElement(tag);
	for (const [name, value] of Object.entries(props || {})) {
		if (value === undefined || value === null || value === false) continue;
		if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
		else if (name === "value" || name === "checked") e[name] = value;
		else e.setAttribute(name, value === true ? "" : value);
	}
	e.append(...children.filter((c) => c !== null && c !== undefined));
	return e;
}

// Only where it changes: selections and what a screen reader has read stay.
export function setText(e, text) {
	if (e.textContent !== text) e.textContent = text;
}

export function show(e, visible) {
	if (e.hidden === visible) e.hidden = !visible;
}

// A line of the last values, for the eye only: the number stands beside it.
function sparkline(values) {
	const width = 72, height = 18, n = values.length;
	const svg = document.createElementNS(SVG, "svg");
	svg.setAttribute("class", "spark");
	svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
	svg.setAttribute("aria-hidden", "true");
	if (n < 2) return svg;
	const max = Math.max(...values, 1e-9);
	const points = values.map((v, i) => `${(width - 2 - (n - 1 - i) * (width - 4) / 59).toFixed(1)},${(height - 2 - v / max * (height - 4)).toFixed(1)}`);
	const line = document.createElementNS(SVG, "polyline");
	line.setAttribute("points", points.join(" "));
	svg.append(line);
	return svg;
}

// A part of a cell: a text, or {text, class, title, href, state, spark, isolate}. Foreign texts are isolated, so that one written from
// right to left does not turn its neighbours around.
function part(p) {
	if (typeof p === "string") return document.createTextNode(p);
	if (p.spark) return sparkline(p.spark);
	if (p.state) return h("span", {class: "state"}, h("i", {class: "mark mark-" + p.state, "aria-hidden": "true"}), p.text);
	const props = {class: p.class, title: p.title ?? (p.text.length > CUT_FROM ? p.text : null)};
	if (p.href) return h("a", {...props, href: p.href}, h("bdi", null, p.text));
	return h(p.isolate ? "bdi" : "span", props, p.text);
}

export function fill(e, parts) {
	const list = Array.isArray(parts) ? parts : [parts];
	const signature = JSON.stringify(list);
	if (e.weirParts === signature) return;
	e.weirParts = signature;
	e.replaceChildren(...list.map(part));
}

// A list of parts, one <li> each; the same items stay the same elements.
export function fillList(ul, items) {
	while (ul.children.length > items.length) ul.lastElementChild.remove();
	items.forEach((item, i) => fill(ul.children[i] || ul.appendChild(h("li")), item));
}

// A table that is brought up to date by key. columns: [{title, number, head, cell(row) -> parts, name(row) -> class}]
export class Table {
	constructor(table, caption) {
		this.table = table;
		this.head = h("thead");
		this.body = h("tbody");
		this.rows = new Map();
		this.table.replaceChildren(h("caption", {class: "visually-hidden"}, caption), this.head, this.body);
	}

	setColumns(columns) {
		const signature = JSON.stringify(columns.map((c) => [c.title, c.number, c.hint]));
		this.columns = columns;
		if (signature === this.signature) return;
		this.signature = signature;
		this.rows.clear();
		this.body.replaceChildren();
		this.head.replaceChildren(h("tr", null, ...columns.map((c) =>
			h("th", {scope: "col", class: c.number ? "number" : null, title: c.hint}, h("bdi", null, c.title)))));
	}

	makeRow() {
		return h("tr", null, ...this.columns.map((c) => c.head ? h("th", {scope: "row"}) : h("td", {class: c.number ? "number" : null})));
	}

	// data in the order in which it is to stand
	update(data, key) {
		const seen = new Set();
		let at = this.body.firstElementChild;
		for (const item of data) {
			const k = key(item);
			if (seen.has(k)) continue;
			seen.add(k);
			let tr = this.rows.get(k);
			if (!tr) this.rows.set(k, tr = this.makeRow());
			if (tr === at) at = at.nextElementSibling;
			else this.body.insertBefore(tr, at);
			this.columns.forEach((c, i) => {
				fill(tr.children[i], c.cell(item));
				if (c.name) tr.children[i].className = c.name(item);
			});
		}
		for (const [k, tr] of this.rows) {
			if (!seen.has(k)) {
				tr.remove();
				this.rows.delete(k);
			}
		}
	}
}

let toastTimer = 0;
export function toast(text) {
	const e = $("toast");
	e.textContent = text;
	e.classList.add("on");
	clearTimeout(toastTimer);
	toastTimer = setTimeout(() => e.classList.remove("on"), 4000);
}
