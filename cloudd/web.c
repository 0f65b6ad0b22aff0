#include "cloudd/web.h"

#include <string.h>

/* What the page may do. Charts set styles through the object model only, which this allows; a style attribute, or a script in
 * the text of the page, would not run. */
#define POLICY                                                                                                            \
	"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; " \
	"base-uri 'none'; frame-ancestors 'none'"

const struct web_file *web_find(const char *name)
{
	for (size_t i = 0; i < web_file_count; i++) {
		if (!strcmp(web_files[i].name, name))
			return &web_files[i];
	}
	return NULL;
}

bool web_etag_matches(const char *header, const char *etag)
{
	size_t n = strlen(etag);
	if (!header)
		return false;
	for (const char *at = header; *at;) {
		at += strspn(at, " \t,");
		size_t len = strcspn(at, " \t,"); /* no tag of ours holds one of these */
		const char *tag = len > 2 && !strncmp(at, "W/", 2) ? at + 2 : at;
		if ((len == 1 && *at == '*') || ((size_t)(at + len - tag) == n && !strncmp(tag, etag, n)))
			return true;
		at += len;
	}
	return false;
}

static void add_headers(struct http_request *r, const struct web_file *f)
{
	http_add_header(r, "ETag", f->etag);
	http_add_header(r, "Cache-Control", "no-cache"); /* kept, but asked about: another version's files do not mix */
	http_add_header(r, "Content-Security-Policy", POLICY);
	http_add_header(r, "Referrer-Policy", "no-referrer");
	http_add_header(r, "Cross-Origin-Opener-Policy", "same-origin");
	http_add_header(r, "Cross-Origin-Resource-Policy", "same-origin");
}

void web_reply(struct http_request *r, const char *name)
{
	const struct web_file *f = web_find(name);
	if (!f) {
		http_reply_error(r, 404, "not_found", "there is no file \"%.100s\"", name);
		return;
	}
	add_headers(r, f);
	if (web_etag_matches(http_header(r, "If-None-Match"), f->etag))
		http_reply(r, 304, f->type, NULL, 0);
	else
		http_reply(r, 200, f->type, f->data, f->len);
}
