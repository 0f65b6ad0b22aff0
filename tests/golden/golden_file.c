/* Files and hexadecimal text. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <xxhash.h>

#include "common/err.h"
#include "tests/golden/golden_impl.h"

bool golden_load(const char *path, struct buf *ret)
{
	FILE *f = fopen(path, "rb");
	size_t n = 1;
	while (f && n) {
		uint8_t *room = buf_reserve(ret, 65536);
		n = fread(room, 1, 65536, f);
		ret->len += n;
	}
	return f && !fclose(f);
}

bool golden_save(const char *folder, const char *name, const struct buf *text, struct buf *wrong)
{
	char *path = xasprintf("%s/%s", folder, name);
	FILE *f = fopen(path, "wb");
	bool ok = f && fwrite(text->data, 1, text->len, f) == text->len;
	ok = f && !fclose(f) && ok;
	if (!ok)
		buf_printf(wrong, "%s: cannot be written\n", path);
	free(path);
	return ok;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

char **golden_names(const char *folder, size_t *ret_count)
{
	DIR *d = opendir(folder);
	char **names = NULL;
	size_t n = 0;
	for (struct dirent *e; d && (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		names = xrealloc(names, (n + 1) * sizeof(*names));
		names[n++] = xstrdup(e->d_name);
	}
	if (d)
		closedir(d);
	if (n)
		qsort(names, n, sizeof(*names), compare);
	*ret_count = n;
	return names;
}

static uint64_t sum_folder(const char *folder, uint64_t seed)
{
	size_t count;
	char **names = golden_names(folder, &count);
	for (size_t i = 0; i < count; i++) {
		char *path = xasprintf("%s/%s", folder, names[i]);
		struct stat st;
		struct buf text = {0};
		seed = XXH3_64bits_withSeed(names[i], strlen(names[i]), seed);
		if (!stat(path, &st) && !S_ISDIR(st.st_mode) && golden_load(path, &text))
			seed = XXH3_64bits_withSeed(text.data, text.len, seed);
		buf_free(&text);
		free(path);
		free(names[i]);
	}
	free(names);
	return seed;
}

void golden_sum(const char *version_folder, char ret[17])
{
	static const char *const inner[] = {"", "/frames", "/databases"};
	uint64_t sum = 0;
	for (size_t i = 0; i < sizeof(inner) / sizeof(inner[0]); i++) {
		char *folder = xasprintf("%s%s", version_folder, inner[i]);
		sum = sum_folder(folder, sum);
		free(folder);
	}
	snprintf(ret, 17, "%016llx", (unsigned long long)sum);
}

bool golden_check_released(const char *golden_folder, struct buf *wrong)
{
	size_t before = wrong->len;
	char *path = xasprintf("%s/released", golden_folder), *save = NULL, sum[17];
	struct buf text = {0};
	if (!golden_load(path, &text))
		buf_printf(wrong, "%s: cannot be read\n", path);
	buf_u8(&text, 0);
	for (char *line = strtok_r((char *)text.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char version[16], told[17];
		if (*line == '#' || sscanf(line, "%15s %16s", version, told) != 2)
			continue;
		char *folder = xasprintf("%s/%s", golden_folder, version);
		golden_sum(folder, sum);
		if (strcmp(sum, told) != 0)
			buf_printf(wrong, "%s: version %s is released, and its golden files are not what they were (%s, not %s): restore "
			                  "them; what changed belongs into a new version's folder (tests/golden/README.md)\n",
			    folder, version, sum, told);
		free(folder);
	}
	buf_free(&text);
	free(path);
	return wrong->len == before;
}

void golden_put_hex(struct buf *out, struct bytes b)
{
	for (size_t i = 0; i < b.n; i++)
		buf_printf(out, "%02x", b.p[i]);
}

bool golden_get_hex(const char *text, size_t len, struct buf *out)
{
	for (size_t i = 0; i < len; i += 2) {
		unsigned v;
		char pair[3] = {text[i], i + 1 < len ? text[i + 1] : 0, 0};
		if (strspn(pair, "0123456789abcdef") != 2 || sscanf(pair, "%2x", &v) != 1)
			return false;
		buf_u8(out, (uint8_t)v);
	}
	return true;
}
