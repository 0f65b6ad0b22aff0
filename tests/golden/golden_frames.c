#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/codec.h"
#include "common/err.h"
#include "tests/golden/golden_impl.h"
#include "tests/golden/later.h"
#include "tests/golden/msg_text.h"
#include "tests/golden/sample.h"

#define PREFIX "frame: "

static void make_file(const struct msg *m, struct buf *out)
{
	struct buf frame = {0};
	struct msg back;
	weir_assert(!msg_encode(m, &frame) && !msg_decode(frame.data, frame.len, &back));
	buf_printf(out, PREFIX);
	golden_put_hex(out, bytes_of(frame.data, frame.len));
	buf_printf(out, "\n\n");
	msg_text(&back, out);
	msg_clear(&back);
	buf_free(&frame);
}

/* The frame's bytes; *ret_fields: the rest of the text. */
static bool split_file(struct buf *text, struct buf *ret_frame, const char **ret_fields)
{
	const char *s = buf_cstr(text), *end = strstr(s, "\n\n");
	if (strncmp(s, PREFIX, strlen(PREFIX)) != 0 || !end)
		return false;
	s += strlen(PREFIX);
	*ret_fields = end + 2;
	return golden_get_hex(s, (size_t)(end - s), ret_frame);
}

/* Fields that came later may stand between: every line of the old text is still said, in its order. */
static bool says(const char *now, const char *then, const char **ret_missing)
{
	while (*then) {
		size_t n = strcspn(then, "\n"), m = strcspn(now, "\n");
		if (!*now) {
			*ret_missing = then;
			return false;
		}
		if (n == m && !memcmp(then, now, n))
			then += n + (then[n] == '\n');
		now += m + (now[m] == '\n');
	}
	return true;
}

static void check_decoded(const char *path, const struct msg *m, const struct buf *frame, const char *fields, struct buf *wrong)
{
	struct buf text = {0}, again = {0};
	const char *missing = NULL;
	msg_text(m, &text);
	if (!says(buf_cstr(&text), fields, &missing))
		buf_printf(wrong, "%s: no longer said: %.*s\n", path, (int)strcspn(missing, "\n"), missing);
	int rc = msg_encode(m, &again);
	if (rc)
		buf_printf(wrong, "%s: cannot be encoded again: %s\n", path, err_text(rc));
	else if (m->protocol == PROTOCOL_VERSION && (again.len != frame->len || memcmp(again.data, frame->data, frame->len)))
		buf_printf(wrong, "%s: encoded again, it is other bytes\n", path);
	buf_free(&text);
	buf_free(&again);
}

/* The frame as the next version would say it: other bytes of the same meaning. */
static bool make_later(struct buf *frame)
{
	struct buf later = {0};
	bool ok = later_frame(frame->data, frame->len, PROTOCOL_NEWEST, &later);
	buf_free(frame);
	*frame = later;
	return ok;
}

/* What it says of itself is its own. */
static const char *without_protocol(const char *fields, struct buf *room)
{
	const char *at = strstr(fields, "protocol: "), *end = strchr(at ? at : fields, '\n');
	if (!at || !end)
		return fields;
	buf_put(room, fields, (size_t)(at - fields));
	buf_printf(room, "%s", end + 1);
	return buf_cstr(room);
}

static void check_file(const char *path, bool later, struct buf *wrong)
{
	struct buf text = {0}, frame = {0}, room = {0};
	const char *fields = NULL;
	struct msg m;
	if (!golden_load(path, &text) || !split_file(&text, &frame, &fields)) {
		buf_printf(wrong, "%s: no golden frame\n", path);
	} else if (later && !make_later(&frame)) {
		buf_printf(wrong, "%s: nothing can be added to it\n", path);
	} else {
		if (later)
			fields = without_protocol(fields, &room);
		int rc = msg_decode(frame.data, frame.len, &m);
		if (rc)
			buf_printf(wrong, "%s: does not decode: %s\n", path, err_text(rc));
		else
			check_decoded(path, &m, &frame, fields, wrong);
		msg_clear(&m);
	}
	buf_free(&text);
	buf_free(&frame);
	buf_free(&room);
}

static bool check_folder(const char *version_folder, bool later, struct buf *wrong)
{
	size_t count, before = wrong->len;
	char *folder = xasprintf("%s/frames", version_folder);
	char **names = golden_names(folder, &count);
	if (!count)
		buf_printf(wrong, "%s: no golden frames\n", folder);
	for (size_t i = 0; i < count; i++) {
		char *path = xasprintf("%s/%s", folder, names[i]);
		check_file(path, later, wrong);
		free(path);
		free(names[i]);
	}
	free(names);
	free(folder);
	return wrong->len == before;
}

bool golden_check_frames(const char *version_folder, struct buf *wrong)
{
	return check_folder(version_folder, false, wrong);
}

bool golden_check_later(const char *version_folder, struct buf *wrong)
{
	return check_folder(version_folder, true, wrong);
}

/* ---- the newest version ------------------------------------------------------------------------------------------------ */

struct sampled {
	const char *folder;
	struct buf *wrong;
	bool seen[MSG_ERROR + 1];
};

static void compare_sample(void *arg, const char *name, const struct msg *m)
{
	struct sampled *s = arg;
	struct buf now = {0}, then = {0};
	char *path = xasprintf("%s/frames/%s.txt", s->folder, name);
	s->seen[m->type] = true;
	make_file(m, &now);
	if (!golden_load(path, &then))
		buf_printf(s->wrong, "%s: missing\n", path);
	else if (now.len != then.len || memcmp(now.data, then.data, now.len))
		buf_printf(s->wrong, "%s: this program says it in other bytes\n", path);
	buf_free(&now);
	buf_free(&then);
	free(path);
}

bool golden_check_newest(const char *version_folder, struct buf *wrong)
{
	size_t before = wrong->len;
	struct sampled s = {.folder = version_folder, .wrong = wrong};
	sample_messages(compare_sample, &s);
	for (int type = MSG_NONE + 1; type <= MSG_ERROR; type++)
		if (!s.seen[type])
			buf_printf(wrong, "message type %d (%s) has no sample: add one to tests/golden/sample_messages.c, and its text to "
			                  "msg_text.c\n",
			    type, msg_type_text((enum msg_type)type));
	return wrong->len == before;
}

static void write_sample(void *arg, const char *name, const struct msg *m)
{
	struct sampled *s = arg;
	struct buf text = {0};
	char *file = xasprintf("%s.txt", name);
	make_file(m, &text);
	golden_save(s->folder, file, &text, s->wrong);
	buf_free(&text);
	free(file);
}

bool golden_write_frames(const char *version_folder, struct buf *wrong)
{
	size_t before = wrong->len;
	char *folder = xasprintf("%s/frames", version_folder);
	struct sampled s = {.folder = folder, .wrong = wrong};
	mkdir(folder, 0755);
	sample_messages(write_sample, &s);
	free(folder);
	return wrong->len == before;
}
