/* A load generator that costs next to nothing: one thread, one epoll loop, closed loop of callers.
 *
 *   load http|grpc HOST:PORT CONNECTIONS CONCURRENCY CALLS NEEDLE COUNT PATH BODY_FILE [HEADER...]
 *
 * CONCURRENCY callers, spread over CONNECTIONS connections (http: one connection each), POST the
 * body until CALLS calls are done. Each answer must hold NEEDLE exactly COUNT times: an answer that
 * is cut off, or an error, ends the program with status 1. Prints one JSON object: seconds in all,
 * seconds of each call and until its first needle, and the CPU seconds of this program.
 */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct request request;

static const struct protocol *protocol;
static const char *needle;
static size_t needle_size;
static long expected, calls, begun_calls, done_calls;
static double *took, *until_first;

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void queue(struct connection *c, const void *data, size_t size) {
    if (c->out_size + size > c->out_room) {
        c->out_room = 2 * (c->out_size + size);
        c->out = realloc(c->out, c->out_room);
        if (!c->out) fail("out of memory");
    }
    memcpy(c->out + c->out_size, data, size);
    c->out_size += size;
}

static void flush(struct connection *c) {
    for (size_t sent = 0; sent < c->out_size;) {
        ssize_t n = send(c->fd, c->out + sent, c->out_size - sent, MSG_NOSIGNAL);
        if (n > 0) {
            sent += (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd wait = {.fd = c->fd, .events = POLLOUT};
            poll(&wait, 1, 1000);
        } else {
            fail("write: %s", strerror(errno));
        }
    }
    c->out_size = 0;
}

/* The needle begins with a byte that it holds once, so a mismatch can only begin it anew. */
void answer_text(struct caller *caller, const unsigned char *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (data[i] == (unsigned char)needle[caller->matched])
            caller->matched++;
        else
            caller->matched = data[i] == (unsigned char)needle[0];
        if (caller->matched == needle_size) {
            caller->matched = 0;
            if (!caller->found++) caller->first = now();
        }
    }
}

static void next_call(struct connection *c, struct caller *caller) {
    if (begun_calls == calls) return;
    begun_calls++;
    caller->matched = 0;
    caller->found = 0;
    caller->first = 0;
    caller->begun = now();
    protocol->begin(c, caller);
}

void answer_ends(struct connection *c, struct caller *caller) {
    if (caller->found != expected)
        fail("an answer held '%s' %ld times, not %ld", needle, caller->found, expected);
    took[done_calls] = now() - caller->begun;
    until_first[done_calls] = caller->first - caller->begun;
    done_calls++;
    if (c->leaving)
        c->waiting++;
    else
        next_call(c, caller);
}

static int connected(const struct sockaddr_in *address) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (const struct sockaddr *)address, sizeof *address))
        fail("connect: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static char *contents(const char *name, size_t *size) {
    FILE *file = fopen(name, "rb");
    if (!file) fail("%s: %s", name, strerror(errno));
    char *data = malloc(1 << 20);
    *size = fread(data, 1, 1 << 20, file);
    fclose(file);
    return data;
}

static void join(int poller, struct connection *c, const struct sockaddr_in *address) {
    c->fd = connected(address);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
}

static void start(struct connection *c) {
    protocol->open(c);
    for (int i = 0; i < c->caller_count; i++) next_call(c, &c->callers[i]);
    flush(c);
}

/* All calls of a connection that the server leaves are done: its callers go on on a new one. */
static void move(int poller, struct connection *c, const struct sockaddr_in *address) {
    close(c->fd);
    free(c->state);
    c->leaving = c->waiting = 0;
    join(poller, c, address);
    start(c);
}

static void print_seconds(const char *name, const double *values) {
    printf(", \"%s\": [", name);
    for (long i = 0; i < calls; i++) printf("%s%.6f", i ? ", " : "", values[i]);
    printf("]");
}

int main(int count, char **arguments) {
    if (count < 10) fail("too few arguments; see load.c");
    protocol = !strcmp(arguments[1], "grpc") ? &grpc : &http1;
    char *port = strchr(arguments[2], ':');
    if (!port) fail("no port in %s", arguments[2]);
    request.host = strdup(arguments[2]);
    *port = 0;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port + 1))};
    if (inet_pton(AF_INET, arguments[2], &address.sin_addr) != 1) fail("not an IPv4 address");
    int callers = atoi(arguments[4]);
    int connections = protocol == &http1 ? callers : atoi(arguments[3]);
    calls = atol(arguments[5]);
    needle = arguments[6];
    needle_size = strlen(needle);
    if (!needle_size || strchr(needle + 1, needle[0])) fail("the needle repeats its first byte");
    expected = atol(arguments[7]);
    request.path = arguments[8];
    request.body = contents(arguments[9], &request.body_size);
    request.headers = arguments + 10;
    request.header_count = count - 10;
    if (callers < connections || callers < 1 || calls < 1) fail("too few callers or calls");
    took = calloc((size_t)calls, sizeof *took);
    until_first = calloc((size_t)calls, sizeof *until_first);

    int poller = epoll_create1(0);
    struct connection *all = calloc((size_t)connections, sizeof *all);
    for (int i = 0; i < connections; i++) {
        all[i].caller_count = callers / connections + (i < callers % connections);
        all[i].callers = calloc((size_t)all[i].caller_count, sizeof(struct caller));
        join(poller, &all[i], &address);
    }
    double begun = now();
    for (int i = 0; i < connections; i++) start(&all[i]);
    static unsigned char data[1 << 18];
    while (done_calls < calls) {
        struct epoll_event events[64];
        int ready = epoll_wait(poller, events, 64, 60000);
        if (!ready) fail("nothing came for 60 s; %ld of %ld calls are done", done_calls, calls);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            ssize_t n = recv(c->fd, data, sizeof data, MSG_DONTWAIT);
            if (n < 0 && errno == EAGAIN) continue;
            if (n <= 0) fail("the server closed the connection");
            protocol->take(c, data, (size_t)n);
            flush(c);
            if (c->leaving && c->waiting == c->caller_count) move(poller, c, &address);
        }
    }
    double wall = now() - begun;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"wall\": %.6f, \"cpu\": %.6f", wall,
           (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
               (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6);
    print_seconds("took", took);
    print_seconds("first", until_first);
    printf("}\n");
    return 0;
}
