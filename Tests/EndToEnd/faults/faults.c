// Makes the n-th call of a process fail, as told through a file in shared memory.
//
// Preload it with FAULTS naming a file of sizeof(struct control) bytes. One fault is armed at a
// time: a call, whose calls count (the object that the return address lies in), how many pass
// before it, what it comes to. Written by edge/faults.py; the layouts must agree.
//
// What the kernel promises about readiness is kept: after EAGAIN, or after less was taken or given
// than was asked for, an edge-triggered descriptor reports again once there is more to do. So after
// such a fault the descriptor's registration is renewed, which makes the kernel look.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

// The order is that of CALLS in edge/faults.py.
enum call {
  SOCKET, CONNECT, ACCEPT4, BIND, LISTEN, SETSOCKOPT, GETSOCKOPT, GETSOCKNAME, SHUTDOWN,
  SEND, SENDTO, RECV, RECVFROM, READ, WRITE, WRITEV, CLOSE, EPOLL_CREATE1, EPOLL_CTL, EPOLL_WAIT,
  EVENTFD, FCNTL, OPEN, FOPEN, RENAME, PTHREAD_CREATE, MALLOC, HTTP2_MALLOC, CALL_COUNT
};

// The order is that of CALLERS in edge/faults.py; anybody else's calls never fail.
enum caller { PROXY, TLS, HTTP2, DNS, CALLER_COUNT, OTHERS = CALLER_COUNT };

enum mode { FAILS, IS_SHORT };

struct control {
  _Atomic uint32_t is_armed;
  uint32_t call, callers, mode;
  int32_t code;
  // All calls from the n-th on, not that one alone.
  uint32_t lasts;
  _Atomic int64_t left;
  _Atomic uint64_t fired;
  _Atomic uint64_t seen[CALL_COUNT][CALLER_COUNT];
};

static struct control *_Atomic control;

// Where the loader put the objects whose calls may fail. First of all a function of the binary that
// allocates for HTTP/2, named by FAULTS_HTTP2 as two numbers: Swift's own allocations, which come
// from the binary too, cannot fail without ending the process.
enum { MOST_RANGES = 64 };
static struct range { uintptr_t start, end; enum caller caller; } ranges[MOST_RANGES];
static int range_count;

// The registrations of descriptors with epoll instances.
enum { MOST_DESCRIPTORS = 4096 };
static struct registration { _Atomic int poller; struct epoll_event event; }
    registrations[MOST_DESCRIPTORS];

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

static int note_object(struct dl_phdr_info *info, size_t size, void *data) {
  (void)size;
  (void)data;
  static const struct { const char *part; enum caller caller; } names[] = {
      {"libssl", TLS}, {"libcrypto", TLS}, {"libnghttp2", HTTP2}, {"libcares", DNS},
      // open and fcntl, which C declares without types, are called from here for the binary.
      {"libswiftGlibc", PROXY}};
  enum caller caller = OTHERS;
  if (info->dlpi_name == NULL || info->dlpi_name[0] == 0) caller = PROXY;
  for (size_t i = 0; i < sizeof names / sizeof *names && caller == OTHERS; i++)
    if (strstr(info->dlpi_name, names[i].part) != NULL) caller = names[i].caller;
  if (caller == OTHERS) return 0;
  const char *part = getenv("FAULTS_HTTP2");
  unsigned long start, end;
  if (caller == PROXY && range_count == 0 && part != NULL &&
      sscanf(part, "%lx-%lx", &start, &end) == 2)
    ranges[range_count++] = (struct range){info->dlpi_addr + start, info->dlpi_addr + end, HTTP2};
  for (int i = 0; i < info->dlpi_phnum && range_count < MOST_RANGES; i++) {
    const ElfW(Phdr) *part = &info->dlpi_phdr[i];
    if (part->p_type != PT_LOAD || (part->p_flags & PF_X) == 0) continue;
    uintptr_t start = info->dlpi_addr + part->p_vaddr;
    ranges[range_count++] = (struct range){start, start + part->p_memsz, caller};
  }
  return 0;
}

__attribute__((constructor)) static void open_control(void) {
  for (int i = 0; i < MOST_DESCRIPTORS; i++) atomic_store(&registrations[i].poller, -1);
  const char *path = getenv("FAULTS");
  if (path == NULL) return;
  dl_iterate_phdr(note_object, NULL);
  int (*real_open)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(
      RTLD_NEXT, "open");
  int (*real_close)(int) = (int (*)(int))dlsym(RTLD_NEXT, "close");
  int file = real_open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return;
  void *memory = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  real_close(file);
  if (memory != MAP_FAILED) atomic_store(&control, memory);
}

static enum caller caller_of(void *return_address) {
  uintptr_t address = (uintptr_t)return_address;
  for (int i = 0; i < range_count; i++)
    if (address >= ranges[i].start && address < ranges[i].end) return ranges[i].caller;
  return OTHERS;
}

// Whether this call is the one that was armed.
static int is_armed_for(enum call call, enum caller caller) {
  struct control *now = atomic_load_explicit(&control, memory_order_relaxed);
  if (now == NULL || caller == OTHERS) return 0;
  atomic_fetch_add_explicit(&now->seen[call][caller], 1, memory_order_relaxed);
  if (atomic_load(&now->is_armed) == 0 || now->call != call) return 0;
  if ((now->callers >> caller & 1) == 0) return 0;
  int64_t before = atomic_fetch_sub(&now->left, 1);
  if (before > 1 || (before < 1 && !now->lasts)) return 0;
  atomic_fetch_add(&now->fired, 1);
  return 1;
}

static int is_short(void) { return atomic_load(&control)->mode == IS_SHORT; }

#define REAL(name) \
  static __typeof__(&name) real; \
  if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define HIT(call) is_armed_for(call, caller_of(__builtin_return_address(0)))

// Has the kernel look again whether a registered descriptor is ready.
static void look_again(int descriptor) {
  if (descriptor < 0 || descriptor >= MOST_DESCRIPTORS) return;
  int poller = atomic_load(&registrations[descriptor].poller);
  if (poller < 0) return;
  static int (*real)(int, int, int, struct epoll_event *);
  if (real == NULL)
    real = (int (*)(int, int, int, struct epoll_event *))dlsym(RTLD_NEXT, "epoll_ctl");
  struct epoll_event event = registrations[descriptor].event;
  real(poller, EPOLL_CTL_MOD, descriptor, &event);
}

static void fail_with(int descriptor) {
  int code = atomic_load(&control)->code;
  if (code == EAGAIN) look_again(descriptor);
  errno = code;
}

// A call that does nothing but fail.
#define FAILING(call, descriptor, name, parameters, arguments) \
  int name parameters { \
    REAL(name); \
    if (HIT(call)) { \
      fail_with(descriptor); \
      return -1; \
    } \
    return real arguments; \
  }

FAILING(SOCKET, -1, socket, (int domain, int type, int protocol), (domain, type, protocol))
FAILING(ACCEPT4, -1, accept4, (int fd, struct sockaddr *peer, socklen_t *length, int flags),
        (fd, peer, length, flags))
FAILING(BIND, -1, bind, (int fd, const struct sockaddr *at, socklen_t length), (fd, at, length))
FAILING(LISTEN, -1, listen, (int fd, int backlog), (fd, backlog))
FAILING(SETSOCKOPT, -1, setsockopt,
        (int fd, int level, int name, const void *value, socklen_t length),
        (fd, level, name, value, length))
FAILING(GETSOCKOPT, -1, getsockopt,
        (int fd, int level, int name, void *value, socklen_t *length),
        (fd, level, name, value, length))
FAILING(GETSOCKNAME, -1, getsockname, (int fd, struct sockaddr *name, socklen_t *length),
        (fd, name, length))
FAILING(SHUTDOWN, -1, shutdown, (int fd, int how), (fd, how))
FAILING(EPOLL_CREATE1, -1, epoll_create1, (int flags), (flags))
FAILING(RENAME, -1, rename, (const char *old, const char *new), (old, new))
FAILING(EPOLL_WAIT, -1, epoll_wait, (int fd, struct epoll_event *events, int most, int timeout),
        (fd, events, most, timeout))

// An interrupted connect goes on by itself (connect(2)).
int connect(int fd, const struct sockaddr *to, socklen_t length) {
  REAL(connect);
  if (!HIT(CONNECT)) return real(fd, to, length);
  if (atomic_load(&control)->code == EINTR) real(fd, to, length);
  fail_with(-1);
  return -1;
}

// A transfer, which may also be cut to one byte.
#define TRANSFER(call, name, parameters, whole, cut) \
  ssize_t name parameters { \
    REAL(name); \
    if (!HIT(call)) return real whole; \
    if (!is_short() || count == 0) { \
      fail_with(fd); \
      return -1; \
    } \
    ssize_t done = real cut; \
    int code = errno; \
    look_again(fd); \
    errno = code; \
    return done; \
  }

TRANSFER(RECV, recv, (int fd, void *place, size_t count, int flags),
         (fd, place, count, flags), (fd, place, 1, flags))
TRANSFER(RECVFROM, recvfrom,
         (int fd, void *restrict place, size_t count, int flags, struct sockaddr *restrict peer,
          socklen_t *restrict length),
         (fd, place, count, flags, peer, length), (fd, place, 1, flags, peer, length))
TRANSFER(SEND, send, (int fd, const void *bytes, size_t count, int flags),
         (fd, bytes, count, flags), (fd, bytes, 1, flags))
TRANSFER(SENDTO, sendto,
         (int fd, const void *bytes, size_t count, int flags, const struct sockaddr *to,
          socklen_t length),
         (fd, bytes, count, flags, to, length), (fd, bytes, 1, flags, to, length))
TRANSFER(READ, read, (int fd, void *place, size_t count), (fd, place, count), (fd, place, 1))

// A wake-up, which is written whole, can be interrupted and cannot fail otherwise.
static _Atomic char is_wake_up[MOST_DESCRIPTORS];

int eventfd(unsigned count, int flags) {
  REAL(eventfd);
  if (HIT(EVENTFD)) {
    fail_with(-1);
    return -1;
  }
  int made = real(count, flags);
  if (made >= 0 && made < MOST_DESCRIPTORS) atomic_store(&is_wake_up[made], 1);
  return made;
}

ssize_t write(int fd, const void *bytes, size_t count) {
  REAL(write);
  struct control *now = atomic_load(&control);
  int never = fd >= 0 && fd < MOST_DESCRIPTORS && atomic_load(&is_wake_up[fd]) && now != NULL &&
              now->code != EINTR;
  if (never || !HIT(WRITE)) return real(fd, bytes, count);
  if (is_short() && count > 0) return real(fd, bytes, 1);
  fail_with(fd);
  return -1;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  REAL(writev);
  if (!HIT(WRITEV)) return real(fd, parts, count);
  fail_with(fd);
  return -1;
}

int epoll_ctl(int poller, int operation, int fd, struct epoll_event *event) {
  REAL(epoll_ctl);
  // To take something out cannot fail for want of anything.
  if (operation != EPOLL_CTL_DEL && HIT(EPOLL_CTL)) {
    fail_with(-1);
    return -1;
  }
  int result = real(poller, operation, fd, event);
  if (result == 0 && fd >= 0 && fd < MOST_DESCRIPTORS) {
    if (operation != EPOLL_CTL_DEL) registrations[fd].event = *event;
    atomic_store(&registrations[fd].poller, operation == EPOLL_CTL_DEL ? -1 : poller);
  }
  return result;
}

// Linux closes the descriptor whatever it then reports.
int close(int fd) {
  REAL(close);
  if (fd >= 0 && fd < MOST_DESCRIPTORS) {
    atomic_store(&registrations[fd].poller, -1);
    atomic_store(&is_wake_up[fd], 0);
  }
  int hit = HIT(CLOSE);
  int result = real(fd);
  if (!hit) return result;
  fail_with(-1);
  return -1;
}

int fcntl(int fd, int command, ...) {
  REAL(fcntl);
  va_list list;
  va_start(list, command);
  void *argument = va_arg(list, void *);
  va_end(list);
  if (HIT(FCNTL)) {
    fail_with(-1);
    return -1;
  }
  return real(fd, command, argument);
}

int open(const char *path, int flags, ...) {
  REAL(open);
  va_list list;
  va_start(list, flags);
  mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0;
  va_end(list);
  if (HIT(OPEN)) {
    fail_with(-1);
    return -1;
  }
  return real(path, flags, mode);
}

#define OPENING(name) \
  FILE *name(const char *restrict path, const char *restrict mode) { \
    REAL(name); \
    if (HIT(FOPEN)) { \
      fail_with(-1); \
      return NULL; \
    } \
    return real(path, mode); \
  }

OPENING(fopen)
OPENING(fopen64)

int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes,
                   void *(*body)(void *), void *restrict argument) {
  REAL(pthread_create);
  if (HIT(PTHREAD_CREATE)) return atomic_load(&control)->code;
  return real(thread, attributes, body, argument);
}

#define ALLOCATING(name, parameters, arguments) \
  void *name parameters { \
    if (HIT(MALLOC)) { \
      errno = ENOMEM; \
      return NULL; \
    } \
    return __libc_##name arguments; \
  }

ALLOCATING(malloc, (size_t size), (size))
ALLOCATING(calloc, (size_t count, size_t size), (count, size))
ALLOCATING(realloc, (void *old, size_t size), (old, size))

// The allocator that the proxy gives to nghttp2 keeps blocks for reuse, so that few of its calls
// reach malloc: it is wrapped where it is handed over.
struct memory {
  void *user;
  void *(*malloc)(size_t, void *);
  void (*free)(void *, void *);
  void *(*calloc)(size_t, size_t, void *);
  void *(*realloc)(void *, size_t, void *);
};

// Of every session: they share their functions.
static struct memory given;

static int lacks_memory(void) { return is_armed_for(HTTP2_MALLOC, HTTP2); }

// More than there can be: the proxy's allocator has to meet the want itself.
static const size_t too_much = PTRDIFF_MAX / 2;

static void *wrapped_malloc(size_t size, void *user) {
  return given.malloc(lacks_memory() ? too_much : size, user);
}

static void *wrapped_calloc(size_t count, size_t size, void *user) {
  return lacks_memory() ? given.calloc(1, too_much, user) : given.calloc(count, size, user);
}

static void *wrapped_realloc(void *old, size_t size, void *user) {
  return given.realloc(old, lacks_memory() ? too_much : size, user);
}

static struct memory wrapped(const struct memory *memory) {
  given = *memory;
  return (struct memory){memory->user, wrapped_malloc, memory->free, wrapped_calloc,
                         wrapped_realloc};
}

#define SESSION(name) \
  int name(void **made, const void *callbacks, void *user, const void *options, \
           struct memory *memory) { \
    REAL(name); \
    struct memory with = wrapped(memory); \
    return real(made, callbacks, user, options, &with); \
  }

int nghttp2_session_server_new3(void **, const void *, void *, const void *, struct memory *);
int nghttp2_session_client_new3(void **, const void *, void *, const void *, struct memory *);

SESSION(nghttp2_session_server_new3)
SESSION(nghttp2_session_client_new3)
