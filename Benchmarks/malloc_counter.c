// Counts a process's allocations by call site, into a shared file that others can read at any time.
//
// Preload it with MALLOC_COUNTER naming a file. Layout: SLOTS pairs of 64-bit words, return address
// and count; 0 marks a free slot. The last pair counts calls that found no slot. Which object an
// address belongs to is for the reader to work out, from /proc/PID/maps.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SLOTS = 1 << 14, PROBES = 256 };

struct slot {
  _Atomic uintptr_t address;
  _Atomic uint64_t count;
};

static struct slot *_Atomic table;

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

__attribute__((constructor)) static void open_table(void) {
  const char *path = getenv("MALLOC_COUNTER");
  if (path == NULL) return;
  size_t size = (SLOTS + 1) * sizeof(struct slot);
  int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) return;
  if (ftruncate(file, (off_t)size) == 0) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory != MAP_FAILED) atomic_store(&table, memory);
  }
  close(file);
}

static void count(void *return_address) {
  struct slot *slots = atomic_load_explicit(&table, memory_order_relaxed);
  if (slots == NULL) return;
  uintptr_t address = (uintptr_t)return_address;
  size_t at = (address * UINT64_C(0x9E3779B97F4A7C15)) >> 50;
  for (int probe = 0; probe < PROBES; probe++, at = (at + 1) % SLOTS) {
    uintptr_t found = atomic_load_explicit(&slots[at].address, memory_order_relaxed);
    if (found == 0 && atomic_compare_exchange_strong(&slots[at].address, &found, address))
      found = address;
    if (found == address) {
      atomic_fetch_add_explicit(&slots[at].count, 1, memory_order_relaxed);
      return;
    }
  }
  atomic_fetch_add_explicit(&slots[SLOTS].count, 1, memory_order_relaxed);
}

void *malloc(size_t size) {
  count(__builtin_return_address(0));
  return __libc_malloc(size);
}

void *calloc(size_t members, size_t size) {
  count(__builtin_return_address(0));
  return __libc_calloc(members, size);
}

void *realloc(void *old, size_t size) {
  count(__builtin_return_address(0));
  return __libc_realloc(old, size);
}

void *reallocarray(void *old, size_t members, size_t size) {
  size_t bytes;
  count(__builtin_return_address(0));
  if (__builtin_mul_overflow(members, size, &bytes)) {
    errno = ENOMEM;
    return NULL;
  }
  return __libc_realloc(old, bytes);
}

void *memalign(size_t alignment, size_t size) {
  count(__builtin_return_address(0));
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  count(__builtin_return_address(0));
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
  count(__builtin_return_address(0));
  if (alignment % sizeof(void *) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0)
    return EINVAL;
  void *memory = __libc_memalign(alignment, size);
  if (memory == NULL) return ENOMEM;
  *out = memory;
  return 0;
}

// A program linked with another allocator would free with that what it got from here.
void free(void *memory) { __libc_free(memory); }

// C++'s operators new and delete by their linker names, for the same reason.
void *_Znwm(size_t size) {
  count(__builtin_return_address(0));
  void *memory = __libc_malloc(size);
  if (memory == NULL) abort();
  return memory;
}

void *_Znam(size_t size) {
  count(__builtin_return_address(0));
  void *memory = __libc_malloc(size);
  if (memory == NULL) abort();
  return memory;
}

void *_ZnwmRKSt9nothrow_t(size_t size, const void *nothrow) {
  (void)nothrow;
  count(__builtin_return_address(0));
  return __libc_malloc(size);
}

void _ZdlPv(void *memory) { __libc_free(memory); }
void _ZdaPv(void *memory) { __libc_free(memory); }
void _ZdlPvm(void *memory, size_t size) {
  (void)size;
  __libc_free(memory);
}
void _ZdaPvm(void *memory, size_t size) {
  (void)size;
  __libc_free(memory);
}
