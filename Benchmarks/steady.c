// A load of GET requests that come when they are due, whatever becomes of the earlier ones.
//
// Usage: steady PORT h1|h2 CONNECTIONS RATE OPENING SECONDS SIZE. Opens TLS connections to
// 127.0.0.1:PORT, then sends RATE requests per second at random moments (a Poisson process of a
// fixed seed), each on the connection that has been idle for longest. What is due while none is
// idle waits, and its time runs from when it was due. Every answer must be 200 with SIZE bytes.
// Prints how many requests were due after the first OPENING seconds, and p50, p99, p99.9 of their
// microseconds.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { INPUT = 32 << 10, PATIENCE = 10, HEAD = 9, DATA = 0, HEADERS = 1, SETTINGS = 4, PING = 6 };

struct connection {
  SSL *tls;
  double due;       // of the request under way
  uint32_t stream;  // HTTP/2: of the next request
  size_t used, got;
  int good;
  uint8_t input[INPUT];
};

static struct connection **idle;  // a ring: who has been idle for longest comes next
static size_t connections, idle_first, idle_count, size;
static int http2, port;
static double *due;         // of all requests
static uint32_t *took;      // microseconds of those that count
static size_t answered, counted;
static double counts_from;

static void fail(const char *why) {
  fprintf(stderr, "%s\n", why);
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void put(struct connection *it, const void *from, size_t length) {
  // A request is small, and the one before it was answered: there is room for it.
  if (SSL_write(it->tls, from, (int)length) != (int)length) fail("a connection takes no more");
}

static void frame(struct connection *it, int type, int flags, uint32_t stream, const void *payload,
                  size_t length) {
  uint8_t bytes[HEAD + 64] = {0, 0, (uint8_t)length, (uint8_t)type, (uint8_t)flags};
  stream = htonl(stream);
  memcpy(bytes + 5, &stream, 4);
  memcpy(bytes + HEAD, payload, length);
  put(it, bytes, HEAD + length);
}

static void ask(struct connection *it, double when) {
  char text[96];
  it->due = when;
  it->good = 0;
  it->got = 0;
  if (!http2) {
    put(it, text, (size_t)sprintf(text, "GET /bench HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", port));
    return;
  }
  // GET, https, and literals without indexing: :path and :authority.
  size_t length = (size_t)sprintf(text, "\x82\x87\x04\x06/bench\x01_127.0.0.1:%d", port);
  text[11] = (char)(length - 12);
  frame(it, HEADERS, 5, it->stream, text, length);
  it->stream += 2;
}

static void rest(struct connection *it) {
  idle[(idle_first + idle_count++) % connections] = it;
}

static struct connection *wake(void) {
  struct connection *it = idle[idle_first];
  idle_first = (idle_first + 1) % connections;
  idle_count--;
  return it;
}

static void done(struct connection *it) {
  if (!it->good || it->got != size) fail("an answer is not 200 with the bytes that it should have");
  if (it->due >= counts_from) took[counted++] = (uint32_t)((now() - it->due) * 1e6);
  answered++;
  rest(it);
}

static void read_http1(struct connection *it) {
  uint8_t *end = memmem(it->input, it->used, "\r\n\r\n", 4);
  if (end == NULL) return;
  it->got = it->used - (size_t)(end + 4 - it->input);
  if (it->got < size) return;
  it->good = memcmp(it->input, "HTTP/1.1 200", 12) == 0;
  it->used = 0;
  done(it);
}

static void take(struct connection *it, int type, int flags, const uint8_t *payload,
                 size_t length) {
  if (type == HEADERS) {
    // Updates of the table's size may come before `:status: 200`, index 8 of the static table.
    while (length > 0 && (*payload & 0xe0) == 0x20) {
      int longer = *payload == 0x3f;
      payload++, length--;
      while (longer && length > 0) longer = *payload >> 7, payload++, length--;
    }
    it->good = length > 0 && *payload == 0x88;
  } else if (type == DATA) {
    it->got += length;
  } else if (type == 3 || type == 7) {
    fail("a stream or a connection was given up");
  } else if ((type == SETTINGS || type == PING) && !(flags & 1)) {
    frame(it, type, 1, 0, payload, type == PING ? length : 0);
  }
  if ((type == HEADERS || type == DATA) && (flags & 1)) done(it);
}

static void read_http2(struct connection *it) {
  size_t at = 0;
  while (it->used - at >= HEAD) {
    const uint8_t *from = it->input + at;
    size_t length = (size_t)from[0] << 16 | (size_t)from[1] << 8 | from[2];
    if (it->used - at < HEAD + length) break;
    take(it, from[3], from[4], from + HEAD, length);
    at += HEAD + length;
  }
  memmove(it->input, it->input + at, it->used - at);
  it->used -= at;
}

static void receive(struct connection *it) {
  int got;
  while ((got = SSL_read(it->tls, it->input + it->used, (int)(INPUT - it->used))) > 0) {
    it->used += (size_t)got;
    if (http2) read_http2(it);
    else read_http1(it);
  }
  if (SSL_get_error(it->tls, got) != SSL_ERROR_WANT_READ) fail("a connection ended");
}

static void open_connection(SSL_CTX *context, int epoll) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int on = 1, file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  struct connection *it = calloc(1, sizeof *it);
  if (it == NULL || connect(file, (struct sockaddr *)&address, sizeof address) < 0)
    fail("no connection");
  it->tls = SSL_new(context);
  it->stream = 1;
  SSL_set_fd(it->tls, file);
  if (SSL_connect(it->tls) != 1) fail("no TLS connection");
  const unsigned char *protocol;
  unsigned length;
  SSL_get0_alpn_selected(it->tls, &protocol, &length);
  if (length != (http2 ? 2 : 8)) fail("another protocol was chosen");
  if (http2) {
    put(it, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    frame(it, SETTINGS, 0, 0, "", 0);
    // Room for all answers of the connection.
    frame(it, 8, 0, 0, "\x7f\0\0\0", 4);
  }
  fcntl(file, F_SETFL, O_NONBLOCK);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = it};
  epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event);
  rest(it);
}

static int ascending(const void *left, const void *right) {
  uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
  return (a > b) - (a < b);
}

// Seconds from the start at which each request is due; returns the number of requests.
static size_t plan(double rate, double seconds) {
  size_t room = (size_t)(rate * seconds * 1.5) + 100, count = 0;
  due = malloc(room * sizeof *due);
  took = malloc(room * sizeof *took);
  if (due == NULL || took == NULL) fail("no memory");
  srand48(5);
  for (double at = 0; count < room; count++) {
    at -= log(1 - drand48()) / rate;
    if (at >= seconds) break;
    due[count] = at;
  }
  return count;
}

static void run(int epoll, size_t requests, double start, double end) {
  struct epoll_event events[256];
  for (size_t next = 0; answered < requests;) {
    double time = now();
    if (time > end + PATIENCE) fail("the answers are too late");
    while (next < requests && idle_count > 0 && start + due[next] <= time)
      ask(wake(), start + due[next++]);
    double wait = next < requests && idle_count > 0 ? start + due[next] - now() : 0.1;
    struct timespec timeout = {0, wait > 0 ? (long)(fmin(wait, 0.1) * 1e9) : 0};
    int ready = epoll_pwait2(epoll, events, 256, &timeout, NULL);
    for (int at = 0; at < ready; at++) receive(events[at].data.ptr);
  }
}

int main(int count, char **arguments) {
  if (count != 8) return 64;
  port = atoi(arguments[1]);
  http2 = strcmp(arguments[2], "h2") == 0;
  connections = strtoul(arguments[3], NULL, 10);
  double rate = atof(arguments[4]), opening = atof(arguments[5]), seconds = atof(arguments[6]);
  size = strtoul(arguments[7], NULL, 10);
  prctl(PR_SET_TIMERSLACK, 1);
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
  if (http2) SSL_CTX_set_alpn_protos(context, (const unsigned char *)"\2h2", 3);
  else SSL_CTX_set_alpn_protos(context, (const unsigned char *)"\10http/1.1", 9);
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  idle = malloc(connections * sizeof *idle);
  size_t requests = plan(rate, opening + seconds);
  for (size_t number = 0; number < connections; number++) open_connection(context, epoll);
  double start = now() + 0.01;
  counts_from = start + opening;
  run(epoll, requests, start, start + opening + seconds);
  if (counted == 0) fail("nothing was due");
  qsort(took, counted, sizeof *took, ascending);
  printf("%zu %u %u %u\n", counted, took[counted / 2], took[counted * 99 / 100],
         took[counted * 999 / 1000]);
}
