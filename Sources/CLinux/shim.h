// What Swift's Glibc module lacks: epoll, eventfd and accept4; and errno as functions.
#pragma once
#include <errno.h>
#include <sys/epoll.h>
#include <linux/sockios.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

// Declared by the headers only under _GNU_SOURCE, with which Swift's own module is not built.
// Not <sys/socket.h>: included here, its declarations would leave the Glibc module for this one.
struct sockaddr;
int accept4(int, struct sockaddr *, unsigned int *, int);

// Asks for the half KiB from `place` on, in lines of 64 bytes.
static inline void edge_prefetch(const void *place) {
  for (int line = 0; line < 8; line++) __builtin_prefetch((const char *)place + 64 * line);
}

static inline int edge_errno(void) { return errno; }

// ioctl is variadic, which Swift does not import.
static inline int edge_unacknowledged(int descriptor) {
  int count = 0;
  return ioctl(descriptor, SIOCOUTQ, &count) == 0 ? count : -1;
}
int pthread_setname_np(unsigned long, const char *);
