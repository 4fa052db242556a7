// Moves frames through libzmq with default settings, between two threads with a context each.
//
//     zmq_peer push SIZE MILLISECONDS    prints: frames sent, frames received, seconds between first and last
//     zmq_peer req SIZE MILLISECONDS     prints: p50 and p99 of a question, in nanoseconds

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

// Above this many bytes a frame is shared, as cloning a `Bytes` shares it; up to it copying is what libzmq does faster.
#define COPY_LIMIT 512
// Questions at the start that are not recorded.
#define WARM_UP 200

static size_t size;
static char endpoint[256];
static atomic_bool stop;
static double sent, received, seconds;

static void check(int ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "zmq_peer: %s: %s\n", what, zmq_strerror(zmq_errno()));
        exit(1);
    }
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void *connected(void **context, int kind) {
    *context = zmq_ctx_new();
    void *socket = zmq_socket(*context, kind);
    check(zmq_connect(socket, endpoint) == 0, "connect");
    return socket;
}

static void leave(void *context, void *socket) {
    zmq_close(socket);
    zmq_ctx_term(context);
}

static void *push(void *unused) {
    void *context, *socket = connected(&context, ZMQ_PUSH);
    char *payload = malloc(size);
    memset(payload, 'x', size);
    zmq_msg_t prepared, message;
    zmq_msg_init_size(&prepared, size);
    memcpy(zmq_msg_data(&prepared), payload, size);
    for (; !atomic_load_explicit(&stop, memory_order_relaxed); sent++) {
        if (size <= COPY_LIMIT) {
            check(zmq_send(socket, payload, size, 0) >= 0, "send");
        } else {
            zmq_msg_init(&message);
            zmq_msg_copy(&message, &prepared);
            check(zmq_msg_send(&message, socket, 0) >= 0, "send");
        }
    }
    // An empty frame says that no more come.
    check(zmq_send(socket, payload, 0, 0) >= 0, "send");
    zmq_msg_close(&prepared);
    leave(context, socket);
    return unused;
}

static void *pull(void *socket) {
    zmq_msg_t message;
    double began = 0;
    zmq_msg_init(&message);
    for (;; received++) {
        check(zmq_msg_recv(&message, socket, 0) >= 0, "receive");
        if (zmq_msg_size(&message) == 0) break;
        check(zmq_msg_size(&message) == size, "a frame arrived with a wrong size");
        if (received == 0) began = now();
    }
    seconds = now() - began;
    zmq_msg_close(&message);
    return NULL;
}

static void *rep(void *socket) {
    zmq_msg_t message;
    zmq_msg_init(&message);
    for (;;) {
        check(zmq_msg_recv(&message, socket, 0) >= 0, "receive");
        int last = zmq_msg_size(&message) == 0;
        check(zmq_msg_send(&message, socket, 0) >= 0, "send");
        if (last) return NULL;
    }
}

static int by_value(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void *req(void *unused) {
    void *context, *socket = connected(&context, ZMQ_REQ);
    char *payload = malloc(size), *answer = malloc(size);
    memset(payload, 'x', size);
    size_t room = 1 << 20, count = 0, asked = 0;
    double *times = malloc(room * sizeof *times), last = now();
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        check(zmq_send(socket, payload, size, 0) >= 0, "send");
        check(zmq_recv(socket, answer, size, 0) == (int)size, "the answer has another size than the question");
        double time = now();
        if (++asked > WARM_UP) {
            if (count == room) times = realloc(times, (room *= 2) * sizeof *times);
            times[count++] = (time - last) * 1e9;
        }
        last = time;
    }
    check(zmq_send(socket, payload, 0, 0) >= 0, "send");
    check(zmq_recv(socket, answer, size, 0) == 0, "receive");
    check(count > 0, "the cell is too short");
    qsort(times, count, sizeof *times, by_value);
    printf("%.0f %.0f\n", times[count / 2], times[count * 99 / 100]);
    leave(context, socket);
    return unused;
}

int main(int count, char **arguments) {
    if (count != 4) return 2;
    int pushes = strcmp(arguments[1], "push") == 0;
    size = strtoul(arguments[2], NULL, 10);
    long milliseconds = strtol(arguments[3], NULL, 10);

    void *context = zmq_ctx_new();
    void *socket = zmq_socket(context, pushes ? ZMQ_PULL : ZMQ_REP);
    size_t length = sizeof endpoint;
    check(zmq_bind(socket, "tcp://127.0.0.1:*") == 0, "bind");
    check(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &length) == 0, "endpoint");

    pthread_t far, near;
    pthread_create(&far, NULL, pushes ? pull : rep, socket);
    pthread_create(&near, NULL, pushes ? push : req, NULL);
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&time, NULL);
    atomic_store(&stop, 1);
    pthread_join(near, NULL);
    pthread_join(far, NULL);
    if (pushes) printf("%.0f %.0f %.9f\n", sent, received, seconds);
    leave(context, socket);
    return 0;
}
