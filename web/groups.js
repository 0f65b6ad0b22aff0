// The picker of a chart's groups. A stream may have a great many: they are fetched in pages when the picker is opened, looked through
// by typing, and no more than a hundred are ever in the page.

import {get, told} from "./api.js";
import {$, h, setText} from "./dom.js";
import * as f from "./format.js";

const PAGE = 2000, GROUPS_MAX = 50000, SHOWN = 100;
const BACK = [2, 20, 200, 2000]; // windows before the watermark: where the nearest have no group, further back
export const CHOSEN_MAX = 8;

export class Picker {
	// onChange(groups): of those chosen, none: all together
	constructor(onChange) {
		this.onChange = onChange;
		this.panel = $("groups-panel");
		this.button = $("groups-button");
		this.chosen = [];
		this.groups = [];
		this.key = null;
		this.search = h("input", {type: "search", id: "groups-search", placeholder: "Find a group", "aria-label": "Find a group", "aria-controls": "groups-list", oninput: () => this.render()});
		this.status = h("span", {class: "hint", role: "status"});
		this.drawn = h("div", {class: "chip-row", "aria-label": "Groups that are drawn", role: "group"});
		this.list = h("ul", {class: "group-list", id: "groups-list", "aria-label": "Groups"});
		this.items = new Map();
		this.together = h("button", {type: "button", onclick: () => this.choose([])}, "All together");
		this.close = h("button", {type: "button", onclick: () => this.toggle(false)}, "Done");
		this.panel.append(h("div", {class: "group-head"}, this.search, this.together, this.close), this.drawn, this.status, this.list);
		this.button.addEventListener("click", () => this.toggle(this.panel.hidden));
		this.panel.addEventListener("keydown", (e) => this.key_(e));
	}

	toggle(open) {
		this.panel.hidden = !open;
		this.button.setAttribute("aria-expanded", String(open));
		if (open) {
			this.render();
			this.load();
			this.search.focus();
		} else {
			this.button.focus();
		}
	}

	key_(e) {
		if (e.key === "Escape") {
			this.toggle(false);
			e.preventDefault();
		} else if (e.key === "ArrowDown" || e.key === "ArrowUp") {
			const boxes = [this.search, ...this.list.querySelectorAll("input")], at = boxes.indexOf(document.activeElement);
			const next = boxes[at + (e.key === "ArrowDown" ? 1 : -1)];
			if (next) next.focus();
			e.preventDefault();
		}
	}

	// what: {stream, by: [tag], mark: the watermark (ms), null: none yet; window: ms; select}
	setSource(what) {
		this.what = what;
		const key = JSON.stringify([what.stream, what.by]);
		if (key === this.key) return this.lookElsewhere();
		this.key = key;
		this.groups = [];
		this.search.value = "";
		this.loadedMs = null;
		this.error = null;
		if (!this.panel.hidden) this.load();
	}

	// Where nothing was found, and the newest windows turn out to be at another time (a stream of the past), that was no answer.
	lookElsewhere() {
		if (this.groups.length || this.what.mark === this.askedMark) return;
		this.loadedMs = null;
		if (!this.panel.hidden) this.load();
	}

	setChosen(groups) {
		this.chosen = groups;
		setText(this.button, !groups.length ? "All together" : groups.length === 1 ? f.groupText(groups[0]).slice(0, 60) : `${groups.length} groups`);
		if (!this.panel.hidden) this.render();
	}

	choose(groups) {
		this.setChosen(groups);
		this.onChange(groups);
	}

	async load() {
		if (this.loading || (this.loadedMs && Date.now() - this.loadedMs < 60000)) return;
		const key = this.key, found = new Map();
		this.loading = true;
		this.error = null;
		this.askedMark = this.what.mark;
		try {
			for (const back of this.askedMark === null ? [0] : BACK) {
				await this.loadSince(this.askedMark === null ? null : this.askedMark - back * this.what.window, key, found);
				if (found.size || key !== this.key) break;
			}
			this.loadedMs = Date.now();
		} catch (e) {
			this.error = told(e);
		} finally {
			this.loading = false;
			this.render();
			if (key !== this.key) this.load();
			else if (!this.error) this.lookElsewhere();
		}
	}

	// Pages of them, shown as they come.
	async loadSince(from, key, found) {
		let cursor = null;
		do {
			const answer = await get(this.path(from, cursor));
			if (key !== this.key) break;
			for (const row of answer.rows) found.set(f.groupKey(row.group), row.group);
			cursor = answer.next;
			this.groups = [...found.values()];
			this.cut = cursor !== null && found.size >= GROUPS_MAX;
			this.render();
		} while (cursor && found.size < GROUPS_MAX);
	}

	// What any replica has will do.
	path(from, cursor) {
		const p = new URLSearchParams({stream: this.what.stream, by: this.what.by.join(","), select: this.what.select, limit: PAGE, stale: "ok"});
		if (from !== null) p.set("from", new Date(from).toISOString());
		if (cursor) p.set("cursor", cursor);
		return "/api/v1/query?" + p;
	}

	matches() {
		const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
		return this.groups.filter((g) => {
			const text = f.groupText(g).toLowerCase();
			return words.every((w) => text.includes(w));
		});
	}

	render() {
		if (this.panel.hidden) return;
		const found = this.matches(), shown = found.slice(0, SHOWN), chosen = new Map(this.chosen.map((g) => [f.groupKey(g), g]));
		this.drawn.replaceChildren(...[...chosen].map(([key, g]) => h("button", {type: "button", class: "chosen", "aria-label": `Do not draw ${f.groupText(g)}`,
			onclick: () => { this.flip(g, key); this.search.focus(); }}, h("bdi", null, f.groupText(g)), h("span", {"aria-hidden": "true"}, " ×"))));
		const items = new Map();
		for (const g of shown) {
			const key = f.groupKey(g), li = this.items.get(key) || this.item(g, key), box = li.querySelector("input");
			box.checked = chosen.has(key);
			box.disabled = !box.checked && chosen.size >= CHOSEN_MAX;
			items.set(key, li);
		}
		this.items = items;
		const list = [...items.values()];
		if (list.length !== this.list.children.length || list.some((li, i) => li !== this.list.children[i])) this.list.replaceChildren(...list);
		setText(this.status, this.told(found.length, shown.length));
	}

	told(found, shown) {
		if (this.error) return "The groups are not known now: " + this.error;
		const all = this.groups.length;
		if (this.loading && !all) return "Looking for groups …";
		if (!all) return "No group has had a reading of late.";
		const more = this.loading ? ", looking for more …" : this.cut ? `, the first ${f.count(GROUPS_MAX)} only` : "";
		const narrow = found > shown ? `; ${f.count(shown)} shown, type to narrow it down` : "";
		return `${f.count(found)} of ${f.count(all)} groups${narrow}${more}. Up to ${CHOSEN_MAX} are drawn.`;
	}

	item(group, key) {
		return h("li", null, h("label", null, h("input", {type: "checkbox", onchange: () => this.flip(group, key)}), h("bdi", {title: f.groupText(group)}, f.groupText(group))));
	}

	flip(group, key) {
		const without = this.chosen.filter((g) => f.groupKey(g) !== key);
		this.choose(without.length < this.chosen.length ? without : [...this.chosen, group].slice(0, CHOSEN_MAX));
	}
}
