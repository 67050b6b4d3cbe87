// An upstream that costs next to nothing: one fixed answer over HTTP/1.1 and h2c, on one port.
//
// Usage: origin [-a] [-q] [-c FILE] PORT SIZE UPLOAD. Every request is answered 200 with SIZE
// bytes. HTTP/1.1 requests must have a body of UPLOAD bytes, by length or in chunks; with 0 they
// have none, and no field is read. HTTP/2 requests may have any. It trusts its only client, the
// proxy. -a listens on all of 127.0.0.0/8, -q never answers, -c keeps two counters in FILE, native
// 64-bit words: connections accepted, requests received.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  INPUT = 64 << 10,
  OUTPUT = 256 << 10,
  FRAME = 16384,
  PENDING = 1024,
  DESCRIPTORS = 65536,
  DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, WINDOW_UPDATE = 8,
  CONTINUATION = 9,
  END_STREAM = 1, ACK = 1, END_HEADERS = 4,
};

struct answer { uint32_t stream; int ready; int64_t left, window; };

struct http2 {
  struct answer answers[PENDING];  // a ring, oldest first
  uint32_t first, count, open;     // open: the stream whose header block is not complete
  int open_ends;
  int64_t window, initial;
  size_t used, sent;
  uint8_t output[OUTPUT + 2 * FRAME];
};

struct connection {
  int file, writing;
  enum { UNKNOWN, HTTP1, HTTP2 } protocol;
  size_t used;
  uint64_t owed;   // HTTP/1.1: bytes of answers not yet written
  size_t at;       // HTTP/1.1: offset into `block` of the next of them
  uint64_t left;   // HTTP/1.1: bytes to come of the request's body, or of its chunk
  uint64_t got;    // HTTP/1.1: bytes of chunks begun
  int chunked;
  struct http2 *http2;
  uint8_t input[INPUT];
};

static struct connection *connections[DESCRIPTORS];
static int epoll, quiet;
static uint64_t unseen[2], *counters = unseen;  // accepted, requests
static size_t body_size, upload_size, answer_size, block_size, head_size;
static uint8_t *block;      // whole HTTP/1.1 answers, as many as fit
static uint8_t *body;
static uint8_t head[256];   // HPACK block of the HTTP/2 answer

static uint8_t *literal(uint8_t *to, int name, const char *value) {
  // Literal without indexing, name from the static table (all of ours are above 15).
  *to++ = 0x0f;
  *to++ = (uint8_t)(name - 15);
  *to++ = (uint8_t)strlen(value);
  return mempcpy(to, value, strlen(value));
}

static void make_answer(void) {
  const char *date = "Sun, 06 Nov 1994 08:49:37 GMT";
  char text[512], length[32];
  int size = snprintf(text, sizeof text,
                      "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: %s\r\n"
                      "Content-Type: text/plain\r\n"
                      "Content-Length: %zu\r\n\r\n", date, body_size);
  answer_size = (size_t)size + body_size;
  size_t copies = answer_size < 65536 ? 65536 / answer_size : 1;
  block_size = copies * answer_size;
  block = malloc(block_size);
  body = malloc(body_size + 1);
  if (block == NULL || body == NULL) exit(1);
  memset(body, 'x', body_size);
  for (size_t at = 0; at < block_size; at += answer_size)
    memcpy(mempcpy(block + at, text, (size_t)size), body, body_size);
  snprintf(length, sizeof length, "%zu", body_size);
  uint8_t *end = head;
  *end++ = 0x88;
  end = literal(end, 54, "origin");
  end = literal(end, 33, date);
  end = literal(end, 31, "text/plain");
  end = literal(end, 28, length);
  head_size = (size_t)(end - head);
}

static void drop(struct connection *it) {
  close(it->file);
  connections[it->file] = NULL;
  free(it->http2);
  free(it);
}

static void watch(struct connection *it, int writing) {
  if (it->writing == writing) return;
  it->writing = writing;
  struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.fd = it->file};
  epoll_ctl(epoll, EPOLL_CTL_MOD, it->file, &event);
}

// Returns the bytes written, 0 when the socket is full, -1 when the connection is dead.
static ssize_t put(struct connection *it, const uint8_t *from, size_t size) {
  ssize_t sent = send(it->file, from, size, MSG_NOSIGNAL);
  if (sent >= 0) return sent;
  return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

static int flush_http1(struct connection *it) {
  if (quiet) it->owed = 0;
  while (it->owed > 0) {
    size_t part = block_size - it->at;
    if (part > it->owed) part = it->owed;
    ssize_t sent = put(it, block + it->at, part);
    if (sent < 0) return -1;
    it->owed -= (uint64_t)sent;
    it->at = (it->at + (size_t)sent) % block_size;
    if ((size_t)sent < part) break;
  }
  watch(it, it->owed > 0);
  return 0;
}

// Learns from a complete head what body follows; -1 when it is not of the size that is expected.
static int begin_body(struct connection *it, char *head, uint8_t *end) {
  *end = 0;
  const char *length = strcasestr(head, "\r\ncontent-length:");
  if (length != NULL) {
    it->left = strtoull(length + 17, NULL, 10);
    return it->left == upload_size ? 0 : -1;
  }
  it->got = 0;
  it->chunked = strcasestr(head, "\r\ntransfer-encoding: chunked") != NULL;
  return it->chunked ? 0 : -1;
}

// Takes the size of a chunk, and what ends a body after the last one. Returns as `step` does.
static ssize_t begin_chunk(struct connection *it, const uint8_t *from, size_t size) {
  const uint8_t *end = memmem(from, size, "\r\n", 2);
  if (end == NULL) return 0;
  uint64_t chunk = strtoull((const char *)from, NULL, 16);
  it->got += chunk;
  if (chunk > 0) {
    it->left = chunk + 2;
    return end + 2 - from;
  }
  if (size < (size_t)(end - from) + 4) return 0;
  if (it->got != upload_size) return -1;
  it->chunked = 0;
  it->owed += answer_size;
  return end + 4 - from;
}

// Takes a head, a part of a body or a chunk's size from HTTP/1.1 input. Returns the bytes taken, 0
// when more must come, -1 for what it cannot read.
static ssize_t step(struct connection *it, uint8_t *from, size_t size) {
  if (it->left > 0) {
    size_t part = size < it->left ? size : it->left;
    it->left -= part;
    if (it->left == 0 && !it->chunked) it->owed += answer_size;
    return (ssize_t)part;
  }
  if (it->chunked) return begin_chunk(it, from, size);
  uint8_t *end = memmem(from, size, "\r\n\r\n", 4);
  if (end == NULL) return 0;
  counters[1]++;
  if (upload_size == 0) it->owed += answer_size;
  else if (begin_body(it, (char *)from, end) < 0) return -1;
  return end + 4 - from;
}

static int read_http1(struct connection *it) {
  size_t start = 0;
  ssize_t taken = 1;
  while (start < it->used && taken > 0) {
    taken = step(it, it->input + start, it->used - start);
    if (taken < 0) return -1;
    start += (size_t)taken;
  }
  memmove(it->input, it->input + start, it->used - start);
  it->used -= start;
  return it->used == INPUT ? -1 : 0;
}

static uint32_t word(const uint8_t *from) {
  return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static void frame(struct http2 *it, size_t size, int type, int flags, uint32_t stream,
                  const void *payload) {
  uint8_t *to = it->output + it->used;
  uint8_t fields[9] = {(uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size, (uint8_t)type,
                       (uint8_t)flags, (uint8_t)(stream >> 24), (uint8_t)(stream >> 16),
                       (uint8_t)(stream >> 8), (uint8_t)stream};
  memcpy(to, fields, 9);
  memcpy(to + 9, payload, size);
  it->used += 9 + size;
}

static struct answer *answer_at(struct http2 *it, uint32_t number) {
  return &it->answers[(it->first + number) % PENDING];
}

static struct answer *find(struct http2 *it, uint32_t stream) {
  for (uint32_t number = 0; number < it->count; number++)
    if (answer_at(it, number)->stream == stream) return answer_at(it, number);
  return NULL;
}

// Turns ready answers into frames, as far as windows and the output buffer go.
static void produce(struct http2 *it) {
  for (uint32_t number = 0; number < it->count && it->used < OUTPUT; number++) {
    struct answer *answer = answer_at(it, number);
    if (answer->ready <= quiet || answer->stream == 0) continue;
    if (answer->ready == 1) {
      int ends = body_size == 0 ? END_STREAM : 0;
      frame(it, head_size, HEADERS, END_HEADERS | ends, answer->stream, head);
      answer->ready = 2;
    }
    while (answer->left > 0 && it->window > 0 && answer->window > 0 && it->used < OUTPUT) {
      int64_t part = answer->left < FRAME ? answer->left : FRAME;
      if (part > it->window) part = it->window;
      if (part > answer->window) part = answer->window;
      answer->left -= part;
      answer->window -= part;
      it->window -= part;
      frame(it, (size_t)part, DATA, answer->left == 0 ? END_STREAM : 0, answer->stream, body);
    }
    if (answer->left == 0) answer->stream = 0;
  }
  while (it->count > 0 && answer_at(it, 0)->stream == 0) {
    it->first = (it->first + 1) % PENDING;
    it->count--;
  }
}

static int flush_http2(struct connection *it) {
  struct http2 *session = it->http2;
  for (;;) {
    produce(session);
    if (session->used == 0) break;
    size_t part = session->used - session->sent;
    ssize_t sent = put(it, session->output + session->sent, part);
    if (sent < 0) return -1;
    session->sent += (size_t)sent;
    if ((size_t)sent < part) break;
    session->used = session->sent = 0;
  }
  watch(it, session->used > 0);
  return 0;
}

static void settings(struct http2 *it, const uint8_t *payload, size_t size) {
  for (size_t at = 0; at + 6 <= size; at += 6) {
    if (payload[at] != 0 || payload[at + 1] != 4) continue;
    int64_t change = (int64_t)word(payload + at + 2) - it->initial;
    it->initial += change;
    for (uint32_t number = 0; number < it->count; number++)
      answer_at(it, number)->window += change;
  }
  frame(it, 0, SETTINGS, ACK, 0, "");
}

static int received(struct http2 *it, int type, int flags, uint32_t stream, const uint8_t *payload,
                    size_t size) {
  struct answer *answer;
  if (type == HEADERS || type == CONTINUATION) {
    if (type == HEADERS) {
      it->open_ends = flags & END_STREAM;
      if (find(it, stream) == NULL) {
        if (it->count == PENDING) return -1;
        *answer_at(it, it->count++) = (struct answer){stream, 0, (int64_t)body_size, it->initial};
        counters[1]++;
      }
    }
    if ((flags & END_HEADERS) && it->open_ends && (answer = find(it, stream)) != NULL)
      answer->ready = 1;
  } else if (type == DATA) {
    uint32_t credit = htonl((uint32_t)size);
    if (size > 0) frame(it, 4, WINDOW_UPDATE, 0, 0, &credit);
    if (size > 0 && !(flags & END_STREAM)) frame(it, 4, WINDOW_UPDATE, 0, stream, &credit);
    if ((flags & END_STREAM) && (answer = find(it, stream)) != NULL) answer->ready = 1;
  } else if (type == SETTINGS && !(flags & ACK)) {
    settings(it, payload, size);
  } else if (type == PING && !(flags & ACK) && size == 8) {
    frame(it, 8, PING, ACK, 0, payload);
  } else if (type == WINDOW_UPDATE && size == 4) {
    int64_t credit = word(payload) & 0x7fffffff;
    if (stream == 0) it->window += credit;
    else if ((answer = find(it, stream)) != NULL) answer->window += credit;
  } else if (type == RST_STREAM && (answer = find(it, stream)) != NULL) {
    answer->ready = 2;
    answer->left = 0;
  }
  return 0;
}

static int read_http2(struct connection *it) {
  struct http2 *session = it->http2;
  size_t start = 0;
  while (it->used - start >= 9) {
    const uint8_t *from = it->input + start;
    size_t size = (size_t)from[0] << 16 | (size_t)from[1] << 8 | from[2];
    if (size > FRAME) return -1;
    if (it->used - start < 9 + size) break;
    // Replies to control frames share the buffer with answers; a full one is sent first.
    if (session->used > OUTPUT + FRAME) break;
    if (received(session, from[3], from[4], word(from + 5) & 0x7fffffff, from + 9, size) < 0)
      return -1;
    start += 9 + size;
  }
  memmove(it->input, it->input + start, it->used - start);
  it->used -= start;
  return 0;
}

static int begin(struct connection *it) {
  if (it->used < 24 && it->input[0] == 'P') return 0;
  if (memcmp(it->input, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24) != 0) {
    it->protocol = HTTP1;
    return 0;
  }
  it->protocol = HTTP2;
  it->http2 = calloc(1, sizeof *it->http2);
  if (it->http2 == NULL) return -1;
  it->http2->window = it->http2->initial = 65535;
  // MAX_CONCURRENT_STREAMS 512, INITIAL_WINDOW_SIZE 1 MiB.
  frame(it->http2, 12, SETTINGS, 0, 0, "\0\3\0\0\2\0" "\0\4\0\x10\0\0");
  it->used -= 24;
  memmove(it->input, it->input + 24, it->used);
  return 0;
}

static int serve(struct connection *it, uint32_t events) {
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
    size_t space = INPUT - it->used;
    ssize_t got = 0;
    if (space > 0) {
      got = recv(it->file, it->input + it->used, space, 0);
      if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return -1;
    }
    if (got > 0) it->used += (size_t)got;
    if (it->protocol == UNKNOWN && it->used > 0 && begin(it) < 0) return -1;
    if (it->protocol == HTTP1 && read_http1(it) < 0) return -1;
  }
  if (it->protocol == HTTP1) return flush_http1(it);
  if (it->protocol != HTTP2) return 0;
  // What a full output buffer left unread is read now that it has been sent.
  if ((events & EPOLLOUT) && flush_http2(it) < 0) return -1;
  return read_http2(it) < 0 ? -1 : flush_http2(it);
}

static void welcome(int listener) {
  int file, on = 1;
  while ((file = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    struct connection *it = file < DESCRIPTORS ? calloc(1, sizeof *it) : NULL;
    if (it == NULL) {
      close(file);
      continue;
    }
    setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    counters[0]++;
    it->file = file;
    connections[file] = it;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = file};
    epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event);
  }
}

static void keep_counters(const char *path) {
  int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0 || ftruncate(file, sizeof unseen) < 0) exit(1);
  counters = mmap(NULL, sizeof unseen, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (counters == MAP_FAILED) exit(1);
  close(file);
}

int main(int count, char **arguments) {
  in_addr_t where = INADDR_LOOPBACK;
  for (int option; (option = getopt(count, arguments, "aqc:")) != -1;) {
    if (option == 'a') where = INADDR_ANY;
    else if (option == 'q') quiet = 1;
    else if (option == 'c') keep_counters(optarg);
    else return 64;
  }
  if (count - optind != 3) return 64;
  arguments += optind - 1;
  body_size = strtoul(arguments[2], NULL, 10);
  upload_size = strtoul(arguments[3], NULL, 10);
  make_answer();
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)atoi(arguments[1])),
                                .sin_addr.s_addr = htonl(where)};
  int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(listener, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
      listen(listener, 2048) < 0) {
    perror("origin");
    return 1;
  }
  epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event events[256], event = {.events = EPOLLIN, .data.fd = listener};
  epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    int ready = epoll_wait(epoll, events, 256, -1);
    for (int at = 0; at < ready; at++) {
      int file = events[at].data.fd;
      if (file == listener) welcome(listener);
      else if (connections[file] && serve(connections[file], events[at].events) < 0)
        drop(connections[file]);
    }
  }
}
