/* gRPC: calls over HTTP/2 streams. Only what a benchmark needs of HTTP/2: the servers are trusted to
 * keep to the protocol, header blocks are not decoded (the text of the answers is what is checked),
 * and the windows that the server may fill are so large that it never waits for us. */
#include "load.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };

#define WINDOW_SIZE 0x7fffffff

struct state {
    unsigned char head[9];
    size_t head_size;
    uint32_t left; /* of the frame's payload */
    unsigned char payload[1 << 16]; /* of frames that are not DATA */
    size_t payload_size;
    unsigned next_stream;
    uint32_t taken;      /* bytes since the last window update */
    int64_t send_window; /* of the connection */
};

static void put32(unsigned char *to, uint32_t value) {
    for (int i = 0; i < 4; i++) to[i] = (unsigned char)(value >> (24 - 8 * i));
}

static uint32_t get32(const unsigned char *from) {
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static void frame(struct connection *c, int type, int flags, uint32_t stream, const void *payload,
                  size_t size) {
    unsigned char head[9] = {(unsigned char)(size >> 16), (unsigned char)(size >> 8),
                             (unsigned char)size, (unsigned char)type, (unsigned char)flags};
    put32(head + 5, stream);
    queue(c, head, sizeof head);
    queue(c, payload, size);
}

static void open_connection(struct connection *c) {
    struct state *s = c->state = calloc(1, sizeof(struct state));
    s->next_stream = 1;
    s->send_window = 65535;
    queue(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    unsigned char settings[12] = {0, 2, 0, 0, 0, 0, 0, 4}; /* no push; the window of streams */
    put32(settings + 8, WINDOW_SIZE);
    frame(c, SETTINGS, 0, 0, settings, sizeof settings);
    unsigned char window[4];
    put32(window, WINDOW_SIZE - 65535);
    frame(c, WINDOW, 0, 0, window, sizeof window);
}

/* A header of the request that the server shall put into its table. */
static size_t literal(unsigned char *to, const char *name, size_t name_size, const char *value) {
    size_t size = 0, value_size = strlen(value);
    if (name_size > 126 || value_size > 126) fail("a header is too long");
    to[size++] = 0x40;
    to[size++] = (unsigned char)name_size;
    for (size_t i = 0; i < name_size; i++)
        to[size++] = (unsigned char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
    to[size++] = (unsigned char)value_size;
    memcpy(to + size, value, value_size);
    return size + value_size;
}

/* As gRPC clients do, the first call spells the headers out and later ones point to them. */
static size_t header_block(unsigned char *to, int first) {
    size_t size = 0;
    to[size++] = 0x83; /* :method POST */
    to[size++] = 0x86; /* :scheme http */
    const char *fixed[][2] = {{":path", request.path},
                              {":authority", request.host},
                              {"te", "trailers"},
                              {"content-type", "application/grpc"},
                              {"user-agent", "marsys-bench"},
                              {"grpc-accept-encoding", "identity, deflate, gzip"}};
    int fixed_count = sizeof fixed / sizeof fixed[0], count = fixed_count + request.header_count;
    for (int i = 0; i < count; i++) {
        if (!first) {
            to[size++] = (unsigned char)(0x80 | (61 + count - i)); /* the newest entry is number 62 */
        } else if (i < fixed_count) {
            size += literal(to + size, fixed[i][0], strlen(fixed[i][0]), fixed[i][1]);
        } else {
            const char *header = request.headers[i - fixed_count], *colon = strstr(header, ": ");
            if (!colon) fail("no header: %s", header);
            size += literal(to + size, header, (size_t)(colon - header), colon + 2);
        }
    }
    return size;
}

static void begin(struct connection *c, struct caller *caller) {
    struct state *s = c->state;
    unsigned char block[4096], prefix[5] = {0};
    caller->stream = s->next_stream;
    s->next_stream += 2;
    frame(c, HEADERS, END_HEADERS, caller->stream, block,
          header_block(block, caller->stream == 1));
    size_t size = request.body_size + sizeof prefix;
    s->send_window -= (int64_t)size;
    if (s->send_window < 0 || size > 16384) fail("the requests are larger than the server's window");
    unsigned char *message = malloc(size);
    put32(prefix + 1, (uint32_t)request.body_size);
    memcpy(message, prefix, sizeof prefix);
    memcpy(message + sizeof prefix, request.body, request.body_size);
    frame(c, DATA, END_STREAM, caller->stream, message, size);
    free(message);
}

static struct caller *caller_of(struct connection *c, uint32_t stream) {
    for (int i = 0; i < c->caller_count; i++)
        if (c->callers[i].stream == stream) return &c->callers[i];
    fail("a frame of an unknown stream: %u", stream);
}

static void frame_came(struct connection *c, int type, int flags, uint32_t stream) {
    struct state *s = c->state;
    const unsigned char *payload = s->payload;
    if (type == PING && !(flags & ACK)) {
        frame(c, PING, ACK, 0, payload, 8);
    } else if (type == SETTINGS && !(flags & ACK)) {
        frame(c, SETTINGS, ACK, 0, NULL, 0);
    } else if (type == WINDOW && !stream) {
        s->send_window += get32(payload) & 0x7fffffff;
    } else if (type == RESET) {
        fail("the server reset a stream, error %u", get32(payload));
    } else if (type == GOAWAY && !get32(payload + 4) && get32(payload) >= s->next_stream - 2) {
        c->leaving = 1; /* gracefully: what runs is answered */
    } else if (type == GOAWAY) {
        fail("the server goes away: %.*s", (int)(s->payload_size - 8), payload + 8);
    }
    if ((type == DATA || type == HEADERS) && flags & END_STREAM) {
        struct caller *caller = caller_of(c, stream);
        caller->stream = 0;
        if (type == HEADERS && !caller->found) {
            for (size_t i = 0; i < s->payload_size; i++) /* it may say why */
                fputc(payload[i] >= ' ' && payload[i] < 127 ? payload[i] : '.', stderr);
            fputc('\n', stderr);
        }
        answer_ends(c, caller);
    }
}

static void take(struct connection *c, const unsigned char *data, size_t size) {
    struct state *s = c->state;
    while (size) {
        if (s->head_size < sizeof s->head) {
            s->head[s->head_size++] = *data++;
            size--;
            if (s->head_size < sizeof s->head) continue;
            s->left = get32(s->head) >> 8;
            s->payload_size = 0;
            if (s->left > 16384 + 9) fail("a frame of %u bytes", s->left);
        }
        int type = s->head[3], flags = s->head[4];
        uint32_t stream = get32(s->head + 5) & 0x7fffffff;
        size_t piece = size < s->left ? size : s->left;
        if (type == DATA) {
            if (flags & PADDED) fail("padding is not read");
            answer_text(caller_of(c, stream), data, piece);
            s->taken += (uint32_t)piece;
        } else {
            memcpy(s->payload + s->payload_size, data, piece);
            s->payload_size += piece;
        }
        data += piece;
        size -= piece;
        s->left -= (uint32_t)piece;
        if (s->left) continue;
        s->head_size = 0;
        frame_came(c, type, flags, stream);
    }
    if (s->taken > WINDOW_SIZE / 2) {
        unsigned char window[4];
        put32(window, s->taken);
        frame(c, WINDOW, 0, 0, window, sizeof window);
        s->taken = 0;
    }
}

const struct protocol grpc = {open_connection, begin, take};
