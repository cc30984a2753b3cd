/* HTTP/1.1: one call at a time on each connection. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum phase { HEAD, LENGTH, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER };

struct state {
    enum phase phase;
    char line[16384]; /* the head, or a line of the chunked encoding */
    size_t line_size;
    size_t left; /* of the body, or of the chunk */
};

static void open_connection(struct connection *c) {
    c->state = calloc(1, sizeof(struct state));
}

static void begin(struct connection *c, struct caller *caller) {
    (void)caller;
    char head[8192];
    int size = snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %zu\r\n",
                        request.path, request.host, request.body_size);
    for (int i = 0; i < request.header_count; i++)
        size += snprintf(head + size, sizeof head - (size_t)size, "%s\r\n", request.headers[i]);
    queue(c, head, (size_t)size);
    queue(c, "\r\n", 2);
    queue(c, request.body, request.body_size);
}

static void ended(struct connection *c) {
    ((struct state *)c->state)->phase = HEAD;
    answer_ends(c, &c->callers[0]);
}

/* The head is whole. */
static void head_came(struct connection *c) {
    struct state *s = c->state;
    if (strncmp(s->line, "HTTP/1.1 200", 12)) fail("answered: %.2000s", s->line);
    const char *length = strcasestr(s->line, "\r\ncontent-length:");
    if (length) {
        s->left = strtoul(length + 17, NULL, 10);
        s->phase = LENGTH;
        if (!s->left) ended(c);
    } else if (strcasestr(s->line, "\r\ntransfer-encoding: chunked")) {
        s->phase = CHUNK_SIZE;
    } else {
        fail("neither length nor chunks: %.2000s", s->line);
    }
}

/* A byte of the head or of a line; true once it is whole. */
static int line_whole(struct state *s, unsigned char byte, const char *end) {
    if (s->line_size == sizeof s->line - 1) fail("the head is too long");
    s->line[s->line_size++] = (char)byte;
    s->line[s->line_size] = 0;
    size_t size = strlen(end);
    if (s->line_size < size || strcmp(s->line + s->line_size - size, end)) return 0;
    return 1;
}

static void take(struct connection *c, const unsigned char *data, size_t size) {
    struct state *s = c->state;
    for (size_t i = 0; i < size;) {
        if (s->phase == LENGTH || s->phase == CHUNK) {
            size_t piece = size - i < s->left ? size - i : s->left;
            answer_text(&c->callers[0], data + i, piece);
            i += piece;
            s->left -= piece;
            if (s->left) continue;
            if (s->phase == CHUNK)
                s->phase = CHUNK_END;
            else
                ended(c);
            continue;
        }
        if (!line_whole(s, data[i++], s->phase == HEAD ? "\r\n\r\n" : "\r\n")) continue;
        int empty = s->line_size == 2;
        s->line_size = 0;
        if (s->phase == HEAD) {
            head_came(c);
        } else if (s->phase == CHUNK_SIZE) {
            s->left = strtoul(s->line, NULL, 16);
            s->phase = s->left ? CHUNK : TRAILER;
        } else if (s->phase == CHUNK_END) {
            s->phase = CHUNK_SIZE;
        } else if (empty) {
            ended(c);
        }
    }
}

const struct protocol http1 = {open_connection, begin, take};
