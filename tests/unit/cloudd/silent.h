/* A receiver that takes connections and never answers. Apart, for <sys/socket.h> and common/codec.h both have a MSG_BATCH. */
#ifndef WEIR_TESTS_SILENT_H
#define WEIR_TESTS_SILENT_H

/* A listening socket of loopback; -1. The caller's to close. */
int silent_listen(unsigned *ret_port);
/* Waits for the next connection. */
int silent_accept(int fd);

#endif
