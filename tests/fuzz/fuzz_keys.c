/* Key files of the cluster's links: what is taken reads as the same keys again, and each is one. */
#include <string.h>

#include "common/err.h"
#include "common/keys.h"
#include "tests/fuzz/fuzz.h"

static void check_key(const struct key_text *key)
{
	uint8_t bytes[KEY_BYTES];
	struct key_text again, public;
	FUZZ_CHECK(strlen(key->text) == KEY_TEXT && !key_decode(key->text, bytes));
	key_encode(bytes, &again);
	FUZZ_CHECK(!strcmp(again.text, key->text));
	FUZZ_CHECK(!key_public(key, &public) && !key_decode(public.text, bytes));
}

static void check_again(const struct key_text *keys, size_t count)
{
	struct buf text = {0};
	struct key_text again[KEYS_PER_NAME_MAX];
	size_t n = 0;
	unsigned line = 0;
	for (size_t i = 0; i < count; i++)
		buf_printf(&text, "# number %zu\n\t%s \r\n\n", i, keys[i].text);
	FUZZ_CHECK(!keys_parse(fuzz_bytes(&text), again, KEYS_PER_NAME_MAX, &n, &line) && n == count);
	FUZZ_CHECK(!count || !memcmp(again, keys, count * sizeof(keys[0])));
	buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct key_text keys[KEYS_PER_NAME_MAX];
	for (size_t max = 1; max <= KEYS_PER_NAME_MAX; max += KEYS_PER_NAME_MAX - 1) { /* of a secret, of public ones */
		size_t count = 0;
		unsigned line = 0;
		int rc = keys_parse(bytes_of(data, len), keys, max, &count, &line);
		if (rc) {
			FUZZ_CHECK(rc == WEIR_EINVAL && !count && line >= 1 && line <= len + 1);
			continue;
		}
		FUZZ_CHECK(count <= max && !line);
		for (size_t i = 0; i < count; i++)
			check_key(&keys[i]);
		check_again(keys, count);
	}
	return 0;
}
