#include "ctl/topology_client.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "ctl/http_client.h"

#define PATH "/api/v1/topology"

int topology_fetch(struct ctl *ctl, struct buf *ret_text, uint64_t *ret_version)
{
	json_t *answer;
	int result = ctl_get(ctl, PATH, &answer, NULL);
	if (result)
		return result;
	const char *text = ctl_text(answer, "text");
	if (*text) {
		buf_put(ret_text, text, strlen(text));
		*ret_version = (uint64_t)json_integer_value(json_object_get(answer, "version"));
	} else {
		ctl_error("the answer holds no topology");
		result = EXIT_FAILED;
	}
	json_decref(answer);
	return result;
}

void topology_put_changes(const json_t *answer, struct buf *out)
{
	size_t i;
	json_t *change;
	json_array_foreach(ctl_array(answer, "changes"), i, change) {
		const char *text = ctl_text(change, "text");
		buf_printf(out, "%-8s %s %s%s%s\n", ctl_text(change, "kind"), ctl_text(change, "what"), ctl_text(change, "name"),
		    *text ? "  " : "", text);
	}
}

static void tell_refusal(long status, const struct buf *body)
{
	struct buf b = {0};
	size_t i;
	json_t *line, *json = json_loadb((const char *)body->data, body->len, 0, NULL);
	topology_put_changes(json, &b);
	json_array_foreach(ctl_array(json, "errors"), i, line)
		buf_printf(&b, "%s\n", json_is_string(line) ? json_string_value(line) : "?");
	fprintf(stderr, "%s", buf_cstr(&b));
	buf_clear(&b);
	ctl_put_api_error(status, body, &b);
	ctl_error("%s", buf_cstr(&b));
	buf_free(&b);
	json_decref(json);
}

int topology_send(struct ctl *ctl, const struct buf *text, uint64_t base, bool dry_run, json_t **ret_answer)
{
	struct buf path = {0}, why = {0};
	struct http_answer answer;
	int result = EXIT_FAILED;
	buf_printf(&path, PATH "?base=%llu%s", (unsigned long long)base, dry_run ? "&dry_run=1" : "");
	if (http_client_post(ctl->http, buf_cstr(&path), text, &answer, &why)) {
		ctl_error("%s", buf_cstr(&why));
	} else if (answer.status != 200) {
		tell_refusal(answer.status, &answer.body);
		buf_free(&answer.body);
	} else {
		*ret_answer = json_loadb((const char *)answer.body.data, answer.body.len, 0, NULL);
		result = *ret_answer ? 0 : EXIT_FAILED;
		if (result)
			ctl_error("%s" PATH ": the answer is not JSON", http_client_url(ctl->http));
		buf_free(&answer.body);
	}
	buf_free(&path);
	buf_free(&why);
	return result;
}

bool topology_confirm(const char *question)
{
	char line[16];
	if (!isatty(STDIN_FILENO)) {
		ctl_error("%s: nobody to be asked; give --yes", question);
		return false;
	}
	fflush(stdout);
	fprintf(stderr, "%s? [y/N] ", question);
	if (!fgets(line, sizeof(line), stdin))
		return false;
	line[strcspn(line, "\r\n")] = 0;
	return !strcasecmp(line, "y") || !strcasecmp(line, "yes");
}
