// The drawing itself, by dygraphs: lines by it; bands, what is not final yet, and marks by us on its canvas.

import * as f from "./format.js";
import {prefs} from "./state.js";

const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [5, 5], [12, 4], [2, 6], [8, 3, 2, 3, 2, 3]]; // lines differ without their colours, too
const MARK_PX = 9; // windows that are closer than this have no marks but the open ones: the tint behind them tells of the others
const WORST = {final: 0, provisional: 1, open: 2};

function colours() {
	const style = getComputedStyle(document.documentElement), get = (name) => style.getPropertyValue("--" + name).trim();
	return {series: DASHES.map((_, i) => get("c" + i)), inner: get("band-inner"), outer: get("band-outer"), panel: get("panel"), grid: get("grid"), line: get("line"),
		provisional: get("shade-provisional"), hatch: get("hatch")};
}

export class Picture {
	// onSelect(start ms of a window, or null)
	constructor(element, onSelect) {
		this.element = element;
		this.onSelect = onSelect;
		this.graph = null;
		this.zoom = null;
		this.colours = colours();
		element.addEventListener("keydown", (e) => this.key(e));
	}

	unzoom() {
		this.zoom = null;
	}

	looksChanged() {
		this.colours = colours();
		this.destroy();
	}

	destroy() {
		this.graph?.destroy();
		this.graph = null;
	}

	// {series, spread: null or {line, inner, outer}, fn, step: ms between windows, span}
	draw(what) {
		this.what = what;
		this.columns = what.spread ? this.spreadColumns(what.spread) : what.series.map((_, i) => ({label: "s" + i, series: i, fn: what.fn, main: true}));
		const data = this.data();
		this.starts = data.filter((row) => row.slice(1).some((v) => v !== null && !Number.isNaN(v))).map((row) => row[0].getTime());
		const labels = ["t", ...this.columns.map((c) => c.label)], signature = labels.join();
		const dateWindow = this.zoom || [what.span.from, Math.max(what.span.to, (this.starts.at(-1) ?? 0) + what.step)];
		if (!data.length) return this.destroy();
		this.updating = true;
		if (this.graph && this.signature === signature) this.graph.updateOptions({file: data, dateWindow, labelsUTC: prefs.zone === "utc"});
		else this.create(data, labels, dateWindow);
		this.signature = signature;
		this.updating = false;
		if (this.selected !== undefined && this.selected !== null) this.mark(this.selected);
	}

	spreadColumns(spread) {
		const fns = [...new Set([spread.line, ...(spread.inner || []), ...(spread.outer || [])])];
		return fns.map((fn) => ({label: fn, series: 0, fn, main: fn === spread.line, edge: fn !== spread.line}));
	}

	// A window that is not there breaks the line: no reading is not the same as between two readings.
	data() {
		const {series, step} = this.what;
		const starts = [...new Set(series.flatMap((one) => [...one.rows.keys()]))].sort((a, b) => a - b);
		const rows = [];
		starts.forEach((start, i) => {
			if (i && start - starts[i - 1] > step * 1.5) rows.push([new Date(starts[i - 1] + step), ...this.columns.map(() => NaN)]);
			rows.push([new Date(start), ...this.columns.map((c) => {
				const v = series[c.series].rows.get(start)?.values[c.fn];
				return typeof v === "number" ? v : NaN;
			})]);
		});
		return rows;
	}

	create(data, labels, dateWindow) {
		this.destroy();
		// The legend is ours. That of dygraphs sets style attributes, which the page's policy stops.
		window.Dygraph.PLUGINS = [window.Dygraph.Plugins.Axes, window.Dygraph.Plugins.Grid];
		const c = this.colours, options = {};
		this.columns.forEach((column) => {
			options[column.label] = column.edge ? {color: c.series[0], plotter: () => {}, highlightCircleSize: 2}
				: {color: c.series[column.series], strokeWidth: 2, strokePattern: DASHES[column.series].length ? DASHES[column.series] : null};
		});
		this.graph = new window.Dygraph(this.element, data, {
			labels, dateWindow, series: options, legend: "never", labelsUTC: prefs.zone === "utc", connectSeparatedPoints: false,
			plotter: [window.Dygraph.Plotters.linePlotter, (e) => this.plotMarks(e)],
			underlayCallback: (ctx, area, g) => this.plotUnder(ctx, area, g),
			axisLineColor: c.line, gridLineColor: c.grid, axisLabelFontSize: 12, highlightCircleSize: 4, rightGap: 12, yRangePad: 12,
			axes: {y: {axisLabelWidth: 56, axisLabelFormatter: (v) => f.value(v)}, x: {axisLabelWidth: 64}},
			highlightCallback: (event, x) => this.select(x, false),
			unhighlightCallback: () => { this.selected = null; this.onSelect(this.selection()); },
			drawCallback: (g) => this.noteZoom(g),
		});
	}

	// What a person did with the mouse or a finger stays, until it is undone.
	noteZoom(g) {
		if (this.updating) return;
		this.zoom = g.isZoomed("x") ? g.xAxisRange() : null;
		if (!this.zoom) setTimeout(() => this.what && this.draw(this.what), 0);
	}

	// ---- what lies under the lines ----

	plotUnder(ctx, area, g) {
		ctx.save();
		ctx.beginPath();
		ctx.rect(area.x, area.y, area.w, area.h);
		ctx.clip();
		this.plotStates(ctx, area, g);
		const spread = this.what.spread;
		if (spread?.outer) this.plotBand(ctx, g, spread.outer, this.colours.outer);
		if (spread?.inner) this.plotBand(ctx, g, spread.inner, this.colours.inner);
		ctx.restore();
	}

	stateAt(start) {
		let worst = "final";
		for (const one of this.what.series) {
			const row = one.rows.get(start);
			if (row && WORST[row.state] > WORST[worst]) worst = row.state;
		}
		return worst;
	}

	// Behind windows that are provisional a tint, behind open ones also hatching.
	plotStates(ctx, area, g) {
		for (const start of this.starts || []) {
			const state = this.stateAt(start);
			if (state === "final") continue;
			const from = g.toDomXCoord(start), width = g.toDomXCoord(start + this.what.step) - from;
			ctx.fillStyle = this.colours.provisional;
			ctx.fillRect(from, area.y, width, area.h);
			if (state === "open") this.hatch(ctx, from, area.y, width, area.h);
		}
	}

	hatch(ctx, x, y, width, height) {
		ctx.save();
		ctx.beginPath();
		ctx.rect(x, y, width, height);
		ctx.clip();
		ctx.strokeStyle = this.colours.hatch;
		ctx.lineWidth = 1;
		ctx.beginPath();
		for (let at = Math.floor((x - height) / 8) * 8; at < x + width; at += 8) {
			ctx.moveTo(at, y + height);
			ctx.lineTo(at + height, y);
		}
		ctx.stroke();
		ctx.restore();
	}

	plotBand(ctx, g, [low, high], colour) {
		const rows = this.what.series[0].rows;
		let run = [];
		const flush = () => {
			if (run.length > 1) this.fillRun(ctx, run, colour);
			run = [];
		};
		let before = null;
		for (const start of this.starts) {
			const v = rows.get(start)?.values, fits = v && typeof v[low] === "number" && typeof v[high] === "number";
			if (!fits || (before !== null && start - before > this.what.step * 1.5)) flush();
			if (fits) run.push([g.toDomXCoord(start), g.toDomYCoord(v[low]), g.toDomYCoord(v[high])]);
			before = start;
		}
		flush();
	}

	fillRun(ctx, run, colour) {
		ctx.fillStyle = colour;
		ctx.beginPath();
		run.forEach(([x, , high], i) => i ? ctx.lineTo(x, high) : ctx.moveTo(x, high));
		for (let i = run.length - 1; i >= 0; i--) ctx.lineTo(run[i][0], run[i][1]);
		ctx.closePath();
		ctx.fill();
	}

	// ---- marks: final a dot, provisional a ring, open a diamond ----

	plotMarks(e) {
		const column = this.columns.find((c) => c.label === e.setName);
		if (!column?.main) return;
		const rows = this.what.series[column.series].rows, ctx = e.drawingContext;
		const wide = e.dygraph.toDomXCoord(this.what.step) - e.dygraph.toDomXCoord(0) >= MARK_PX;
		for (const p of e.points) {
			const state = rows.get(p.xval)?.state;
			if (!state || Number.isNaN(p.canvasy) || (state !== "open" && !wide)) continue;
			ctx.beginPath();
			if (state === "open") this.diamond(ctx, p.canvasx, p.canvasy, 5.5);
			else ctx.arc(p.canvasx, p.canvasy, state === "final" ? 2.5 : 4.5, 0, 2 * Math.PI);
			ctx.fillStyle = state === "final" ? e.color : this.colours.panel;
			ctx.fill();
			if (state === "final") continue;
			ctx.setLineDash([]);
			ctx.strokeStyle = e.color;
			ctx.lineWidth = 2;
			ctx.stroke();
		}
	}

	diamond(ctx, x, y, r) {
		ctx.moveTo(x, y - r);
		ctx.lineTo(x + r, y);
		ctx.lineTo(x, y + r);
		ctx.lineTo(x - r, y);
		ctx.closePath();
	}

	// ---- choosing a window ----

	// The one that is told of: the chosen, else the newest.
	selection() {
		return this.selected ?? this.starts?.at(-1) ?? null;
	}

	select(start, mark) {
		this.selected = start;
		if (mark) this.mark(start);
		this.onSelect(start);
	}

	mark(start) {
		for (let row = 0; this.graph && row < this.graph.numRows(); row++) {
			if (this.graph.getValue(row, 0) === start) return this.graph.setSelection(row);
		}
	}

	key(e) {
		if (!this.graph || e.ctrlKey || e.metaKey || e.altKey) return;
		const step = {ArrowLeft: -1, ArrowRight: 1}[e.key], at = this.starts.indexOf(this.selection());
		if (step) {
			const next = Math.min(this.starts.length - 1, Math.max(0, at + step * (e.shiftKey ? 10 : 1)));
			this.select(this.starts[next], true);
		} else if (e.key === "Home" || e.key === "End") {
			this.select(e.key === "Home" ? this.starts[0] : this.starts.at(-1), true);
		} else if (e.key === "+" || e.key === "=" || e.key === "-" || e.key === "0") {
			this.scale(e.key === "0" ? null : e.key === "-" ? 2 : 0.5);
		} else {
			return;
		}
		e.preventDefault();
		e.stopPropagation();
	}

	scale(by) {
		const [from, to] = this.graph.xAxisRange(), middle = Math.min(to, Math.max(from, this.selection())), half = (to - from) * (by ?? 1) / 2;
		this.zoom = by === null ? null : [middle - half, middle + half];
		this.draw(this.what);
	}
}
