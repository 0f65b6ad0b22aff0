#include "ctl/printable.h"

#include <stdint.h>
#include <string.h>

#include "common/err.h"
#include "common/utf8.h"

struct range {
	uint32_t from, to;
};

#define IN(ranges, code) is_in(ranges, sizeof(ranges) / sizeof((ranges)[0]), code)

static bool is_in(const struct range *ranges, size_t count, uint32_t code)
{
	size_t low = 0, high = count;
	while (low < high) {
		size_t mid = (low + high) / 2;
		if (code > ranges[mid].to)
			low = mid + 1;
		else
			high = mid;
	}
	return low < count && code >= ranges[low].from;
}

/* Controls of Unicode Standard Annex 9, and the separators that some terminals take for a newline. */
static bool steers(uint32_t code)
{
	static const struct range ranges[] = {{0, 0x1f}, {0x7f, 0x9f}, {0x61c, 0x61c}, {0x200e, 0x200f}, {0x2028, 0x202e}, {0x2066, 0x2069}};
	return IN(ranges, code);
}

/* Marks of the scripts that are met most, joiners, variation selectors. */
static bool combines(uint32_t code)
{
	static const struct range ranges[] = {{0x300, 0x36f}, {0x483, 0x489}, {0x591, 0x5bd}, {0x5bf, 0x5bf}, {0x5c1, 0x5c2}, {0x5c4, 0x5c5},
		{0x610, 0x61a}, {0x64b, 0x65f}, {0x670, 0x670}, {0x6d6, 0x6dc}, {0x93c, 0x93c}, {0x941, 0x948}, {0x94d, 0x94d},
		{0xe31, 0xe31}, {0xe34, 0xe3a}, {0xe47, 0xe4e}, {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x200b, 0x200d}, {0x2060, 0x2060},
		{0x20d0, 0x20f0}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0xfeff, 0xfeff}, {0xe0100, 0xe01ef}};
	return IN(ranges, code);
}

/* Unicode Standard Annex 11: W and F, in coarse pieces. */
static bool is_wide(uint32_t code)
{
	static const struct range ranges[] = {{0x1100, 0x115f}, {0x231a, 0x231b}, {0x23e9, 0x23ec}, {0x2614, 0x2615}, {0x26a1, 0x26a1},
		{0x2705, 0x2705}, {0x274c, 0x274c}, {0x2e80, 0x303e}, {0x3041, 0x4dbf}, {0x4e00, 0xa4cf}, {0xa960, 0xa97c}, {0xac00, 0xd7a3},
		{0xf900, 0xfaff}, {0xfe30, 0xfe6f}, {0xff01, 0xff60}, {0xffe0, 0xffe6}, {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff},
		{0x1f7e0, 0x1f7eb}, {0x1f900, 0x1f9ff}, {0x1fa70, 0x1faff}, {0x20000, 0x3fffd}};
	return IN(ranges, code);
}

static size_t width_of(uint32_t code)
{
	return combines(code) ? 0 : is_wide(code) ? 2 : 1;
}

void printable_put(struct buf *out, const char *text, size_t len, bool ascii)
{
	const uint8_t *p = (const uint8_t *)text;
	for (size_t i = 0, n; i < len; i += n) {
		uint32_t code = utf8_next(p + i, len - i, &n);
		bool bad = n == 1 && p[i] >= 0x80;
		if (bad || steers(code))
			buf_u8(out, '?');
		else if (ascii && code >= 0x80)
			buf_put(out, "??", width_of(code));
		else
			buf_put(out, p + i, n);
	}
}

char *printable(const char *text)
{
	struct buf b = {0};
	printable_put(&b, text, strlen(text), false);
	char *copy = xstrdup(buf_cstr(&b));
	buf_free(&b);
	return copy;
}

size_t printable_width(const char *text)
{
	size_t width = 0, left = strlen(text);
	for (size_t n; left; text += n, left -= n)
		width += width_of(utf8_next((const uint8_t *)text, left, &n));
	return width;
}

size_t printable_cut(const char *text, size_t columns)
{
	size_t at = 0, len = strlen(text), width = 0;
	for (size_t n; at < len; at += n) {
		width += width_of(utf8_next((const uint8_t *)text + at, len - at, &n));
		if (width > columns)
			break;
	}
	return at;
}
