#include "tests/unit/common/topology_lib.h"

#include <check.h>
#include <string.h>

#include "common/buf.h"

static struct topology *parse(const char *text, struct buf *errors)
{
	struct topology *t = NULL;
	topology_parse("/etc/weir/t.yaml", text, strlen(text), &t, errors);
	return t;
}

struct topology *good(const char *text)
{
	struct buf errors = {0};
	struct topology *t = parse(text, &errors);
	ck_assert_msg(t != NULL, "%s", buf_cstr(&errors));
	return t;
}

void refused(const char *text, const char *why)
{
	struct buf errors = {0};
	struct topology *t = parse(text, &errors);
	ck_assert_msg(!t, "taken: %s", text);
	ck_assert_msg(strstr(buf_cstr(&errors), why) != NULL, "%s, not: %s", why, buf_cstr(&errors));
	buf_free(&errors);
}
