#include "ctl/findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "ctl/printable.h"
#include "ctl/table.h"

#define TEXT_WIDTH 100 /* columns of a line for people */

static const char *severity_text(enum finding_severity s)
{
	switch (s) {
	case FINDING_CRITICAL:
		return "critical";
	case FINDING_WARNING:
		return "warning";
	case FINDING_NOTE:
		return "note";
	}
	return "";
}

/* What servers say must not steer a terminal. */
static char *plain(char *text)
{
	char *safe = printable(text);
	free(text);
	return safe;
}

void findings_add(struct findings *f, const struct finding *like, const char *about, const char *remedy, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	if (f->count == FINDINGS_MAX) {
		f->left_out++;
		return;
	}
	va_start(ap, fmt);
	weir_assert(vasprintf(&text, fmt, ap) >= 0); /* fails for want of memory only */
	va_end(ap);
	f->all = xrealloc(f->all, (f->count + 1) * sizeof(*f->all));
	struct finding *to = &f->all[f->count++];
	*to = *like;
	to->about = plain(xstrdup(about));
	to->remedy = plain(xstrdup(remedy));
	to->text = plain(text);
}

static void finding_clear(struct finding *f)
{
	free(f->about);
	free(f->text);
	free(f->remedy);
}

void findings_clear(struct findings *f)
{
	for (size_t i = 0; i < f->count; i++)
		finding_clear(&f->all[i]);
	free(f->all);
	*f = (struct findings){0};
}

static bool has_check(const struct findings *f, const char *check)
{
	for (size_t i = 0; i < f->count; i++) {
		if (!strcmp(f->all[i].check, check))
			return true;
	}
	return false;
}

void findings_keep_lasting(struct findings *f, const struct findings *before)
{
	size_t kept = 0;
	for (size_t i = 0; i < f->count; i++) {
		if (f->all[i].passing && !has_check(before, f->all[i].check))
			finding_clear(&f->all[i]);
		else
			f->all[kept++] = f->all[i];
	}
	f->count = kept;
}

void findings_sort(struct findings *f)
{
	struct finding *sorted = xcalloc(f->count + 1, sizeof(*sorted));
	size_t n = 0;
	for (int s = FINDING_CRITICAL; s <= FINDING_NOTE; s++) {
		for (size_t i = 0; i < f->count; i++) {
			if (f->all[i].severity == (enum finding_severity)s)
				sorted[n++] = f->all[i];
		}
	}
	free(f->all);
	f->all = sorted;
}

bool findings_need_another_look(const struct findings *f)
{
	for (size_t i = 0; i < f->count; i++) {
		if (f->all[i].passing || f->all[i].counted)
			return true;
	}
	return false;
}

bool findings_wrong(const struct findings *f)
{
	for (size_t i = 0; i < f->count; i++) {
		if (f->all[i].severity != FINDING_NOTE)
			return true;
	}
	return f->left_out > 0;
}

/* ---- output ------------------------------------------------------------------------------------------------------- */

/* Words, wrapped, each line but the first behind `indent` spaces. */
static void put_wrapped(const char *text, size_t indent, size_t column, struct buf *out)
{
	while (*text) {
		size_t word = strcspn(text, " ");
		if (column > indent && column + 1 + word > TEXT_WIDTH) {
			buf_printf(out, "\n%*s", (int)indent, "");
			column = indent;
		} else if (column > indent) {
			buf_u8(out, ' ');
			column++;
		}
		buf_put(out, text, word);
		column += word;
		text += word;
		text += strspn(text, " ");
	}
	buf_u8(out, '\n');
}

static void put_finding(const struct finding *f, struct buf *out)
{
	size_t indent = 10;
	buf_printf(out, "%-*s", (int)indent, severity_text(f->severity));
	char *line = xasprintf("%s: %s", f->about, f->text);
	put_wrapped(line, indent, indent, out);
	free(line);
	if (!*f->remedy)
		return;
	line = xasprintf("-> %s", f->remedy);
	buf_printf(out, "%*s", (int)indent, "");
	put_wrapped(line, indent, indent, out);
	free(line);
}

void findings_put_text(const struct findings *f, size_t nodes, struct buf *out)
{
	if (!findings_wrong(f))
		buf_printf(out, "nothing wrong: %zu cloud node%s asked\n", nodes, nodes == 1 ? " was" : "s were");
	for (size_t i = 0; i < f->count; i++)
		put_finding(&f->all[i], out);
	if (f->left_out)
		buf_printf(out, "and %zu more\n", f->left_out);
}

void findings_put_csv(const struct findings *f, struct buf *out)
{
	static const char *const columns[] = {"severity", "check", "about", "text", "remedy"};
	struct table *t = table_new(true);
	for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
		table_column(t, columns[i], false);
	for (size_t i = 0; i < f->count; i++) {
		table_cell(t, severity_text(f->all[i].severity));
		table_cell(t, f->all[i].check);
		table_cell(t, f->all[i].about);
		table_cell(t, f->all[i].text);
		table_cell(t, f->all[i].remedy);
	}
	table_flush(t, out);
	table_free(t);
}

json_t *findings_json(const struct findings *f)
{
	json_t *all = json_array();
	for (size_t i = 0; i < f->count; i++) {
		const struct finding *x = &f->all[i];
		json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:s, s:s}", "severity", severity_text(x->severity), "check",
		                               x->check, "about", x->about, "text", x->text, "remedy", x->remedy));
	}
	return json_pack("{s:b, s:I, s:o}", "fine", !findings_wrong(f), "left_out", (json_int_t)f->left_out, "findings", all);
}

/* ---- names -------------------------------------------------------------------------------------------------------- */

void names_add(struct names *n, const char *name)
{
	if (n->count++ < FINDING_NAMES_SHOWN)
		buf_printf(&n->text, "%s%s", n->text.len ? ", " : "", name);
}

const char *names_text(struct names *n)
{
	if (n->count > FINDING_NAMES_SHOWN) {
		buf_printf(&n->text, " and %zu more", n->count - FINDING_NAMES_SHOWN);
		n->count = FINDING_NAMES_SHOWN; /* said */
	}
	return buf_cstr(&n->text);
}

void names_clear(struct names *n)
{
	buf_free(&n->text);
	n->count = 0;
}
