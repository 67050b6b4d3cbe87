// What Swift's Glibc module lacks: epoll, eventfd, signalfd, accept4, and the address structures
// behind them.
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

// The module is compiled without _GNU_SOURCE where Swift has read the headers before.
int accept4(int, struct sockaddr *, socklen_t *, int);
int dup3(int, int, int);

static inline int edge_errno(void) { return errno; }
static inline void edge_set_errno(int value) { errno = value; }
