/* The dashboard: the files of web/ and dygraphs, which the build puts into the program (tools/embed-web), and their way out.
 *
 * The files hold nothing of the cluster: they are for everybody, and the page asks for a token before it asks for data. What may
 * run in it is said in the headers: only these files, nothing from elsewhere, nothing inline. */
#ifndef WEIR_CLOUDD_WEB_H
#define WEIR_CLOUDD_WEB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/http.h"

#define WEB_PATH "/web/" /* of all files; index.html is also at / */

struct web_file {
	const char *name; /* without a folder */
	const char *type; /* content type */
	const char *etag; /* quoted; of the content */
	const uint8_t *data;
	size_t len;
};

/* Made by tools/embed-web. */
extern const struct web_file web_files[];
extern const size_t web_file_count;

/* NULL: there is none. */
const struct web_file *web_find(const char *name);
/* Whether an If-None-Match header (NULL: none was sent) names this tag, weak or strong, or is `*`. */
bool web_etag_matches(const char *header, const char *etag);
/* Answers the request with the file of that name: 200, 304 where the client has it already, or 404. */
void web_reply(struct http_request *r, const char *name);

#endif
