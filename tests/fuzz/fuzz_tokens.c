/* The file of tokens, and what comes in an Authorization header. The first byte says which: 'h' a header. */
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/tokens.h"
#include "tests/fuzz/fuzz.h"

static void try_header(const uint8_t *data, size_t len)
{
	uint8_t hash[TOKEN_HASH_BYTES] = {0}, same[TOKEN_HASH_BYTES] = {0};
	char *text = malloc(len + 1);
	memcpy(text, data, len);
	text[len] = 0;
	int rc = token_hash_of_header(text, hash);
	FUZZ_CHECK(!rc || rc == WEIR_EINVAL);
	char *bearer = xasprintf("bearer  %s", text);
	if (strlen(bearer) <= TOKEN_HEADER_MAX) {
		const char *token = text + strspn(text, " ");
		token_hash(token, strlen(token), same);
		FUZZ_CHECK(!token_hash_of_header(bearer, hash) && !memcmp(hash, same, sizeof(hash)));
	} else {
		FUZZ_CHECK(token_hash_of_header(bearer, hash) == WEIR_EINVAL);
	}
	free(bearer);
	free(text);
}

static void check_again(const struct tokens *t)
{
	struct buf text = {0};
	struct tokens *again;
	char *why = NULL;
	for (size_t i = 0; i < tokens_count(t); i++)
		token_put(tokens_at(t, i), &text);
	FUZZ_CHECK(!tokens_parse(text.data, text.len, &again, &why) && tokens_count(again) == tokens_count(t));
	for (size_t i = 0; i < tokens_count(t); i++) {
		const struct token *a = tokens_at(t, i), *b = tokens_at(again, i);
		FUZZ_CHECK(!strcmp(a->name, b->name) && a->role == b->role && !memcmp(a->hash, b->hash, sizeof(a->hash)));
		FUZZ_CHECK(!token_name_check(a->name) && tokens_find(t, a->hash) == a);
	}
	tokens_free(again);
	buf_free(&text);
}

static void try_file(const uint8_t *data, size_t len)
{
	struct tokens *t;
	char *why = NULL;
	int rc = tokens_parse(data, len, &t, &why);
	if (rc) {
		FUZZ_CHECK(rc == WEIR_EINVAL && why && !strncmp(why, "line ", 5));
		free(why);
		return;
	}
	FUZZ_CHECK(!why && tokens_count(t) <= TOKENS_MAX && !tokens_at(t, tokens_count(t)));
	check_again(t);
	tokens_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (!len)
		return 0;
	if (data[0] == 'h')
		try_header(data + 1, len - 1);
	else
		try_file(data + 1, len - 1);
	return 0;
}
