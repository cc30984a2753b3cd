/* What the event loop (load.c) and the two protocols (http1.c, grpc.c) know of each other. */
#ifndef LOAD_H
#define LOAD_H
#include <stddef.h>

/* One of the callers: it has one call running at a time. */
struct caller {
    double begun;   /* when its call was written, in seconds */
    double first;   /* when the first of what is counted came; 0: not yet */
    size_t matched; /* how much of the needle the last bytes match */
    long found;     /* how often the needle came in this call */
    unsigned stream; /* gRPC: id of its HTTP/2 stream; 0: none */
};

struct connection {
    int fd;
    struct caller *callers;
    int caller_count;
    char *out; /* what is to be written */
    size_t out_size, out_room;
    void *state; /* the protocol's own */
    int leaving; /* the server takes no more calls on it: they go on on a new one */
    int waiting; /* callers that wait for the new one */
};

struct request {
    const char *host, *path, *body;
    size_t body_size;
    char **headers; /* "Name: value" */
    int header_count;
};

struct protocol {
    void (*open)(struct connection *);
    void (*begin)(struct connection *, struct caller *);
    void (*take)(struct connection *, const unsigned char *, size_t);
};

extern const struct protocol http1, grpc;
extern struct request request;

/* Appends to what will be written. */
void queue(struct connection *, const void *, size_t);

/* Counts the needle in a piece of an answer. */
void answer_text(struct caller *, const unsigned char *, size_t);

/* The answer is whole: checks it, and lets the caller begin its next call. */
void answer_ends(struct connection *, struct caller *);

/* Says what went wrong and ends the program. */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
