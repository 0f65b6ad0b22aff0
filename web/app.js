// What holds the views together: which one is shown, how often is asked, keys, looks, the token, and the word about the node.

import * as alerts from "./alerts.js";
import {health, loadStreams, onHealth, onUnauthorised, told, tryToken} from "./api.js";
import * as chart from "./chart.js";
import {$, fill, setText, show} from "./dom.js";
import * as f from "./format.js";
import * as overview from "./overview.js";
import * as query from "./query.js";
import {VIEWS, hashOf, prefs, readHash, rememberView, setPref, setToken, token} from "./state.js";

const POLL_MS = 2000, POLL_QUIET_MS = 5000, POLL_MAX_MS = 30000, ALERTS_MS = 10000;
const REST = 10; // so many times as long as an answer took nothing is asked: a large fleet's page asks less often
const views = {chart, query};

let view = null, signedOut = false;

// ---- which view --------------------------------------------------------------------------------------------------------------------

function showView(name) {
	for (const v of [...VIEWS, "sign-in"]) show($("view-" + v), v === name);
	document.querySelectorAll("nav a").forEach((a) => {
		if (a.dataset.view === view) a.setAttribute("aria-current", "page");
		else a.removeAttribute("aria-current");
	});
}

function route() {
	const {view: next, params} = readHash();
	if (view && view !== next) views[view]?.leave();
	view = next;
	$("skip").setAttribute("href", location.hash || "#overview");
	if (signedOut) return;
	showView(view);
	rememberView(view, params);
	views[view]?.enter(params);
	pollSoon();
}

// ---- asking again: only where it is seen, and never two rounds at once ------------------------------------------------------------------

let timer = 0, polling = false, alertsMs = 0;

async function round() {
	if (view === "overview") {
		await overview.load();
	} else {
		await loadStreams();
		views[view]?.streamsChanged();
		if (!overview.clusterNow()) overview.load().catch(() => {}); // for the name at the head
	}
	if (view === "alerts" || Date.now() - alertsMs > ALERTS_MS) {
		alertsMs = Date.now();
		await alerts.load();
	}
}

async function poll() {
	clearTimeout(timer);
	if (polling || document.hidden || signedOut) return;
	polling = true;
	const began = performance.now();
	try {
		await round();
	} catch (e) {
		if (!("status" in e)) console.error(e); // ours: told to whoever looks for it
	}
	polling = false;
	renderHealth();
	const least = view === "overview" && health.sinceMs === null ? POLL_MS : POLL_QUIET_MS;
	timer = setTimeout(poll, health.sinceMs !== null ? least : Math.min(POLL_MAX_MS, Math.max(least, REST * (performance.now() - began))));
}

function pollSoon() {
	clearTimeout(timer);
	timer = setTimeout(poll, 0);
}

// ---- the word about the node ------------------------------------------------------------------------------------------------------------

const clock = (ms) => f.time(ms - ms % 1000, "clock") + (prefs.zone === "utc" ? "Z" : "");

function renderHealth() {
	const since = health.sinceMs, node = overview.clusterNow()?.asked ?? location.host;
	document.body.classList.toggle("unreachable", since !== null);
	show($("banner"), since !== null && !signedOut);
	$("view-overview").classList.toggle("stale", since !== null); // together: who reads the word sees what it is about
	if (since !== null) {
		setText($("banner"), `${node} unreachable since ${clock(since)}: ${health.message}. ` + (health.lastMs ? `What is shown is of ${clock(health.lastMs)}.` : "Nothing is known yet.") + " It is asked again.");
		fill($("pulse"), [{state: "bad", text: node}]);
	} else if (health.lastMs !== null) {
		fill($("pulse"), [{state: "ok", text: node}]);
	}
}

// ---- the token -----------------------------------------------------------------------------------------------------------------------------

function askForToken(error) {
	if (signedOut) return;
	signedOut = true;
	setText($("sign-in-why"), token() ? "The token of this tab is not valid (any more)." : "This cluster answers only who shows a token.");
	if (error.status === 429) setText($("sign-in-why"), told(error));
	views[view]?.leave();
	showView("sign-in");
	show($("banner"), false);
	$("token").focus();
}

async function signIn(e) {
	e.preventDefault();
	const text = $("token").value.trim();
	try {
		await tryToken(text);
	} catch (error) {
		setText($("sign-in-why"), error.status === 401 ? "That is nobody's token." : told(error));
		$("token").select();
		return;
	}
	$("token").value = "";
	signedOut = false;
	show($("forget"), true);
	alerts.again();
	route();
}

function forget() {
	setToken(null);
	location.reload();
}

// ---- looks -----------------------------------------------------------------------------------------------------------------------------------

function renderLooks() {
	if (prefs.theme === "auto") document.documentElement.removeAttribute("data-theme");
	else document.documentElement.setAttribute("data-theme", prefs.theme);
	setText($("theme"), "Theme: " + prefs.theme);
	setText($("zone"), prefs.zone === "utc" ? "UTC" : "Local time");
}

function looksChanged() {
	renderLooks();
	chart.looksChanged();
	if (overview.clusterNow()) overview.render();
	renderHealth();
}

function nextTheme() {
	setPref("theme", {auto: "dark", dark: "light", light: "auto"}[prefs.theme]);
	looksChanged();
}

function nextZone() {
	setPref("zone", prefs.zone === "utc" ? "local" : "utc");
	looksChanged();
}

// ---- keys --------------------------------------------------------------------------------------------------------------------------------------

const isTyping = (e) => e.target.closest("input:not([type=checkbox]), textarea, select") !== null;

function find() {
	if (view === "chart") return chart.openGroups();
	if (view !== "overview") location.hash = hashOf("overview");
	setTimeout(() => $("edges-filter").focus(), 0);
}

function goTo(name) {
	location.hash = document.querySelector(`nav a[data-view="${name}"]`).getAttribute("href");
	$("main").focus();
}

function key(e) {
	if (e.ctrlKey || e.metaKey || e.altKey || isTyping(e) || $("help").open) return;
	if (e.key >= "1" && e.key <= String(VIEWS.length)) goTo(VIEWS[e.key - 1]);
	else if (e.key === "/") find();
	else if (e.key === "t") nextTheme();
	else if (e.key === "u") nextZone();
	else if (e.key === "?") $("help").showModal();
	else return;
	e.preventDefault();
}

// ---- begin ---------------------------------------------------------------------------------------------------------------------------------------

overview.open();
chart.open();
query.open();
alerts.open();
renderLooks();
onHealth(renderHealth);
onUnauthorised(askForToken);
show($("forget"), token() !== null);
$("sign-in-form").addEventListener("submit", signIn);
$("forget").addEventListener("click", forget);
$("theme").addEventListener("click", nextTheme);
$("zone").addEventListener("click", nextZone);
$("help-button").addEventListener("click", () => $("help").showModal());
$("skip").addEventListener("click", (e) => { e.preventDefault(); $("main").focus(); });
document.addEventListener("keydown", key);
window.addEventListener("hashchange", route);
document.addEventListener("visibilitychange", () => {
	chart.visibilityChanged();
	if (!document.hidden) pollSoon();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", looksChanged);
route();
