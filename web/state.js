// What the page remembers: the view and its parameters in location.hash (so that a link leads to the same picture), tastes in
// localStorage, and the token in sessionStorage: it lives as long as the tab, and no other tab or site sees it.

function read(storage, key) {
	try {
		return window[storage].getItem(key);
	} catch {
		return null; // switched off
	}
}

function write(storage, key, value) {
	try {
		if (value === null) window[storage].removeItem(key);
		else window[storage].setItem(key, value);
	} catch {
		// it holds for this page only, then
	}
}

let tokenNow = read("sessionStorage", "weir.token");
export const token = () => tokenNow;
export function setToken(text) {
	tokenNow = text;
	write("sessionStorage", "weir.token", text);
}

export const prefs = {
	zone: read("localStorage", "weir.zone") === "local" ? "local" : "utc",
	theme: ["light", "dark"].includes(read("localStorage", "weir.theme")) ? read("localStorage", "weir.theme") : "auto",
};
export function setPref(name, text) {
	prefs[name] = text;
	write("localStorage", "weir." + name, text);
}

export const VIEWS = ["overview", "chart", "query", "alerts"];

// {view, params: URLSearchParams}
export function readHash() {
	const [view, params] = location.hash.slice(1).split("?", 2);
	return {view: VIEWS.includes(view) ? view : "overview", params: new URLSearchParams(params || "")};
}

export function hashOf(view, params) {
	const text = params ? params.toString() : "";
	return "#" + view + (text ? "?" + text : "");
}

// Without a step in the browser's history, and without an event.
export function replaceHash(view, params) {
	const hash = hashOf(view, params);
	if (hash !== location.hash) history.replaceState(null, "", hash);
	rememberView(view, params);
}

// The parameters of the views that are not shown, for the way back.
const remembered = new Map();
export function rememberView(view, params) {
	remembered.set(view, params.toString());
	const link = document.querySelector(`nav a[data-view="${view}"]`);
	if (link) link.setAttribute("href", hashOf(view, params));
}
