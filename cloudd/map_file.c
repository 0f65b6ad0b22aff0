#include "cloudd/map_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/codec.h"
#include "common/err.h"

#define FORMAT 1
#define HEAD 9

static int read_all(FILE *f, struct buf *out)
{
	uint8_t room[HEAD + MAP_BYTES_MAX + 1];
	size_t n = fread(room, 1, sizeof(room), f);
	if (ferror(f))
		return WEIR_EIO;
	if (n < HEAD || n == sizeof(room) || room[0] != FORMAT)
		return WEIR_ECORRUPT;
	struct rd r = rd_init(room + 1, HEAD - 1);
	if (rd_u64(&r) != XXH3_64bits(room + HEAD, n - HEAD))
		return WEIR_ECORRUPT;
	buf_put(out, room + HEAD, n - HEAD);
	return 0;
}

int map_file_read(const char *folder, struct buf *map)
{
	char *path = xasprintf("%s/" MAP_FILE_NAME, folder);
	FILE *f = fopen(path, "rbe");
	free(path);
	if (!f)
		return WEIR_ENOTFOUND;
	int rc = read_all(f, map);
	fclose(f);
	return rc;
}

static bool write_all(int fd, struct bytes map)
{
	struct buf b = {0};
	buf_u8(&b, FORMAT);
	buf_u64(&b, XXH3_64bits(map.p, map.n));
	buf_put(&b, map.p, map.n);
	bool ok = write(fd, b.data, b.len) == (ssize_t)b.len && fsync(fd) == 0;
	buf_free(&b);
	return ok;
}

static bool sync_folder(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok = fd >= 0 && fsync(fd) == 0;
	if (fd >= 0)
		close(fd);
	return ok;
}

int map_file_write(const char *folder, struct bytes map)
{
	char *path = xasprintf("%s/" MAP_FILE_NAME, folder), *fresh = xasprintf("%s.new", path);
	int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool ok = fd >= 0 && write_all(fd, map);
	if (fd >= 0)
		ok = close(fd) == 0 && ok;
	ok = ok && rename(fresh, path) == 0 && sync_folder(folder);
	free(fresh);
	free(path);
	return ok ? 0 : WEIR_EIO;
}
