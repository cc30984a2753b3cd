/* A fake OpenAI-compatible provider that costs next to nothing: one thread, one epoll loop.
 *
 *   upstream CHUNKS DELAY_MS     listens on a port of 127.0.0.1 that it prints
 *
 * POST PATH: a body with "stream":true is answered with an event stream of CHUNKS chunks, any other
 * with a whole answer. PATH says how a stream is written:
 *
 *   /burst/...    at once, ten chunks a write
 *   /single/...   at once, one chunk a write
 *   /paced/...    one chunk each DELAY_MS milliseconds
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_CONNECTIONS 4096
#define BUFFER (1 << 20)

enum mode { BURST, SINGLE, PACED };

struct connection {
    char *in;        /* what has come of the request */
    size_t in_size;
    int stream;      /* chunks are still to be written */
    enum mode mode;
    int next;        /* number of the next chunk */
    long due;        /* when it is written, in ms; 0: as soon as the socket takes it */
    const char *out; /* what the socket didn't take yet */
    size_t out_size;
};

static struct connection connections[MOST_CONNECTIONS];
static int chunks = 100, poller, paced_running;
static long delay = 10;

static char whole[4096], head[512], *chunk_text, *ten_text, last_text[2048];
static size_t whole_size, head_size, chunk_size, ten_size, last_size;

static long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* One chunk of the transfer encoding that holds the events. */
static size_t framed(char *to, const char *events) {
    return (size_t)sprintf(to, "%zx\r\n%s\r\n", strlen(events), events);
}

static void prepare(void) {
    const char *start = "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion";
    const char *about = "\"created\":1750000000,\"model\":\"bench-model\",\"choices\":[{\"index\":0,";
    char text[2048], event[1024], ten[10240] = "", events[3072];
    memset(text, 0, sizeof text);
    for (int i = 0; i < 12; i++) strcat(text, "The quick brown fox jumps over it. ");
    const char *usage = "\"usage\":{\"prompt_tokens\":25,\"completion_tokens\":100,"
                        "\"total_tokens\":125}";
    char body[3072];
    sprintf(body,
            "%s\",%s\"message\":{\"role\":\"assistant\",\"content\":\"%s\",\"refusal\":null},"
            "\"finish_reason\":\"stop\"}],%s}",
            start, about, text, usage);
    whole_size = (size_t)sprintf(whole,
                                 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                                 "Content-Length: %zu\r\n\r\n%s",
                                 strlen(body), body);
    sprintf(event,
            "data: %s.chunk\",%s\"delta\":{\"content\":\" token\"},\"finish_reason\":null}]}\n\n",
            start, about);
    chunk_text = malloc(2048);
    chunk_size = framed(chunk_text, event);
    for (int i = 0; i < 10; i++) strcat(ten, event);
    ten_text = malloc(16384);
    ten_size = framed(ten_text, ten);
    sprintf(events,
            "data: %s.chunk\",%s\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
            "data: %s.chunk\",\"created\":1750000000,\"model\":\"bench-model\",\"choices\":[],%s}\n\n"
            "data: [DONE]\n\n",
            start, about, start, usage);
    last_size = framed(last_text, events);
    memcpy(last_text + last_size, "0\r\n\r\n", 5);
    last_size += 5;
    head_size = (size_t)sprintf(head, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                                      "Transfer-Encoding: chunked\r\n\r\n");
}

static void drop(int fd) {
    struct connection *c = &connections[fd];
    if (c->stream && c->mode == PACED) paced_running--;
    free(c->in);
    memset(c, 0, sizeof *c);
    close(fd);
}

/* Writes, and keeps what the socket doesn't take. Returns 0 where the connection broke. */
static int put(int fd, const char *data, size_t size) {
    struct connection *c = &connections[fd];
    ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return 0;
    if (sent < 0) sent = 0;
    c->out = data + sent;
    c->out_size = size - (size_t)sent;
    return 1;
}

/* Writes as much of the stream as is due and as the socket takes. */
static int advance(int fd) {
    struct connection *c = &connections[fd];
    while (c->out_size) {
        size_t before = c->out_size;
        if (!put(fd, c->out, c->out_size)) return 0;
        if (c->out_size == before) return 1;
    }
    while (c->stream && !c->out_size) {
        if (c->mode == PACED) {
            if (now_ms() < c->due) return 1;
            c->due += delay;
        }
        if (c->next >= chunks) {
            c->stream = 0;
            if (c->mode == PACED) paced_running--;
            return put(fd, last_text, last_size);
        }
        int many = c->mode == BURST && chunks - c->next >= 10;
        c->next += many ? 10 : 1;
        if (!put(fd, many ? ten_text : chunk_text, many ? ten_size : chunk_size)) return 0;
    }
    return 1;
}

static int answer(int fd, const char *path, const char *body) {
    struct connection *c = &connections[fd];
    if (!strstr(body, "\"stream\":true") && !strstr(body, "\"stream\": true"))
        return put(fd, whole, whole_size);
    c->stream = 1;
    c->next = 0;
    c->mode = !strncmp(path, "/paced", 6) ? PACED : !strncmp(path, "/single", 7) ? SINGLE : BURST;
    if (c->mode == PACED) {
        paced_running++;
        c->due = now_ms() + delay;
    }
    return put(fd, head, head_size) && advance(fd);
}

/* Takes what came; answers when the request is whole. */
static int take(int fd) {
    struct connection *c = &connections[fd];
    if (!c->in) c->in = malloc(BUFFER);
    ssize_t got = recv(fd, c->in + c->in_size, BUFFER - 1 - c->in_size, 0);
    if (got < 0) return errno == EAGAIN;
    if (got == 0) return 0;
    c->in_size += (size_t)got;
    c->in[c->in_size] = 0;
    char *end = strstr(c->in, "\r\n\r\n");
    if (!end) return c->in_size < BUFFER - 1;
    char *field = strcasestr(c->in, "\r\nContent-Length:");
    size_t length = field && field < end ? strtoul(field + 17, NULL, 10) : 0;
    size_t size = (size_t)(end + 4 - c->in) + length;
    if (c->in_size < size) return size < BUFFER;
    char *path = strchr(c->in, ' ');
    c->in_size = 0; /* callers don't pipeline */
    return path && answer(fd, path + 1, end + 4);
}

int main(int count, char **arguments) {
    if (count > 1) chunks = atoi(arguments[1]);
    if (count > 2) delay = atol(arguments[2]);
    prepare();
    int one = 1, server = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(server, (struct sockaddr *)&address, size) || listen(server, 1024)) return 1;
    getsockname(server, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = server}, events[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, server, &event);
    for (;;) {
        int ready = epoll_wait(poller, events, 256, paced_running ? 1 : -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == server) {
                int caller = accept4(server, NULL, NULL, SOCK_NONBLOCK);
                if (caller < 0) continue;
                if (caller >= MOST_CONNECTIONS) {
                    close(caller);
                    continue;
                }
                setsockopt(caller, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                event.events = EPOLLIN | EPOLLOUT | EPOLLET;
                event.data.fd = caller;
                epoll_ctl(poller, EPOLL_CTL_ADD, caller, &event);
                continue;
            }
            int alive = !(events[i].events & (EPOLLERR | EPOLLHUP));
            if (alive && events[i].events & EPOLLIN) alive = take(fd);
            if (alive && events[i].events & EPOLLOUT) alive = advance(fd);
            if (!alive) drop(fd);
        }
        for (int fd = 0; paced_running && fd < MOST_CONNECTIONS; fd++)
            if (connections[fd].stream && connections[fd].mode == PACED && !advance(fd)) drop(fd);
    }
}
