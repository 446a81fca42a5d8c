/* Many connections at once, doing everything at once: every answer belongs to its question. */
#include "common/lock.h"
#include "common/mem.h"
#include "tests/integration/http/rig.h"
#include "tests/support/test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define N_CLIENTS 6
#define N_ROUNDS  25

struct storm {
    struct rig *rig;
    atomic_int n_bad, stop;
    struct gdfo_store_job job;
};

struct client {
    struct storm *storm;
    int index, fd;
};

/* cmocka's asserts may not be used off the test's own thread: faults are counted instead. */
static size_t exchange(struct client *c, const char *request, size_t n, char *reply, size_t max)
{
    size_t got = 0;
    rig_send(c->fd, request, n);
    while (got + 1 < max) {
        ssize_t k = recv(c->fd, reply + got, max - got - 1, 0);
        const char *end, *length;
        if (k <= 0) {
            break;
        }
        got += (size_t)k;
        reply[got] = '\0';
        end = strstr(reply, "\r\n\r\n");
        length = strstr(reply, "Content-Length: ");
        if (end && length) {
            size_t want = 0;
            for (const char *p = length + 16; *p >= '0' && *p <= '9'; p++) {
                want = want * 10 + (size_t)(*p - '0');
            }
            if (got >= (size_t)(end - reply) + 4 + want) {
                break;
            }
        }
    }
    reply[got] = '\0';
    return got;
}

static void expect(struct client *c, const char *method, const char *path, const char *extra,
                   const char *want)
{
    static _Thread_local char reply[1 << 17];
    char request[2048];
    int n = snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s", method,
                     path, extra);
    (void)exchange(c, request, (size_t)n, reply, sizeof reply);
    if (!strstr(reply, want)) {
        print_error("%s %s: no %s in %s\n", method, path, want, reply);
        atomic_fetch_add(&c->storm->n_bad, 1);
    }
}

static void one_round(struct client *c, int round)
{
    char path[200], extra[600], want[200], body[300];
    const char *id = c->storm->job.id;
    expect(c, "GET", "/healthz", "\r\n", "\"ok\"");
    (void)snprintf(path, sizeof path, "/v1/fine_tuning/jobs/%s", id);
    expect(c, "GET", path, "\r\n", id);
    (void)snprintf(path, sizeof path, "/v1/nothing%d", round);
    expect(c, "GET", path, "\r\n", "404");
    (void)snprintf(body, sizeof body, "{\"model\":\"ftjob-%dx%d\",\"inputs\":[{\"text\":\"t\"}]}",
                   c->index, round);
    (void)snprintf(extra, sizeof extra,
                   "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
                   body);
    (void)snprintf(want, sizeof want, "{\"echo\":\"ftjob-%dx%d\"}", c->index, round);
    expect(c, "POST", "/v1/predict", extra, want);
    (void)snprintf(body, sizeof body,
                   "--XyZ\r\nContent-Disposition: form-data; name=purpose\r\n\r\nfine-tune\r\n"
                   "--XyZ\r\nContent-Disposition: form-data; name=file; filename=f%dx%d\r\n\r\n"
                   "%d\r\n--XyZ--\r\n",
                   c->index, round, c->index);
    (void)snprintf(
        extra, sizeof extra,
        "Content-Type: multipart/form-data; boundary=XyZ\r\nContent-Length: %zu\r\n\r\n%s",
        strlen(body), body);
    (void)snprintf(want, sizeof want, "\"filename\":\"f%dx%d\"", c->index, round);
    expect(c, "POST", "/v1/files", extra, want);
    expect(c, "GET", "/v1/files?limit=2", "\r\n", "\"has_more\"");
}

static void *run_client(void *arg)
{
    struct client *c = arg;
    for (int round = 0; round < N_ROUNDS; round++) {
        one_round(c, round);
    }
    return NULL;
}

/* The worker: answers each prediction with the model it asked for. */
static void *run_worker(void *arg)
{
    struct storm *s = arg;
    for (;;) {
        struct gdfo_predict *p = NULL;
        struct gdfo_buf b;
        gdfo_lock_acquire(s->rig->lock);
        while (s->rig->n_waiting == 0 && !atomic_load(&s->stop)) {
            gdfo_cond_wait(s->rig->changed, s->rig->lock);
        }
        if (s->rig->n_waiting > 0) {
            p = s->rig->waiting[--s->rig->n_waiting];
        }
        gdfo_lock_release(s->rig->lock);
        if (!p) {
            return NULL;
        }
        gdfo_buf_init(&b, 256);
        gdfo_buf_addf(&b, "{\"echo\":\"%s\"}", p->model);
        p->done(p->ctx, GDFO_STATUS_OK, &b, NULL);
        gdfo_buf_deinit(&b);
    }
}

static void every_answer_belongs_to_its_question(void **state)
{
    struct storm s = {.rig = rig_start()};
    struct client clients[N_CLIENTS];
    struct gdfo_thread *threads[N_CLIENTS];
    struct gdfo_thread *worker;
    (void)state;
    rig_add_job(s.rig, NULL, &s.job);
    worker = gdfo_thread_start("worker", run_worker, &s);
    assert_non_null(worker);
    for (int i = 0; i < N_CLIENTS; i++) {
        clients[i] = (struct client){&s, i, rig_connect(s.rig)};
        threads[i] = gdfo_thread_start("client", run_client, &clients[i]);
        assert_non_null(threads[i]);
    }
    for (int i = 0; i < N_CLIENTS; i++) {
        gdfo_thread_join(threads[i]);
        (void)close(clients[i].fd);
    }
    gdfo_lock_acquire(s.rig->lock);
    atomic_store(&s.stop, 1);
    gdfo_cond_broadcast(s.rig->changed);
    gdfo_lock_release(s.rig->lock);
    gdfo_thread_join(worker);
    assert_int_equal(atomic_load(&s.n_bad), 0);
    gdfo_store_job_deinit(&s.job);
    rig_end(s.rig);
}

/* Connections that are opened and dropped at every point of a request leave nothing behind. */
static void dropped_connections_leave_nothing(void **state)
{
    static const char request[] =
        "POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; "
        "boundary=XyZ\r\nContent-Length: 300\r\n\r\n--XyZ\r\nContent-Disposition: form-data; "
        "name=file; filename=a\r\n\r\nhalf of it";
    struct rig *rig = rig_start();
    struct answer a;
    (void)state;
    for (size_t n = 0; n < sizeof request; n += 7) {
        int fd = rig_connect(rig);
        rig_send(fd, request, n);
        (void)close(fd);
    }
    rig_get(rig, "/healthz", &a);
    assert_int_equal(a.status, 200);
    rig_free(&a);
    rig_end(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_belongs_to_its_question),
        cmocka_unit_test(dropped_connections_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
