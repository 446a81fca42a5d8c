#ifndef GDFO_TESTS_SUPPORT_TEST_H
#define GDFO_TESTS_SUPPORT_TEST_H

/* The only includer of cmocka.h: its four headers must stand before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "common/buf.h"
#include "common/error.h"

#include <cmocka.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* How often to repeat arithmetic that no second thread touches: ThreadSanitizer has nothing to say
 * of it and takes ten to fifty times as long, so few repeats do there. */
#ifdef __SANITIZE_THREAD__
#    define GDFO_TEST_REPEATS(usual, under_tsan) (under_tsan)
#else
#    define GDFO_TEST_REPEATS(usual, under_tsan) (usual)
#endif

/* |a - b| <= tol * max(1, |b|), in double; fails the test with both values. */
#define gdfo_test_near(a, b, tol) gdfo_test_near_at((a), (b), (tol), #a, __FILE__, __LINE__)
void gdfo_test_near_at(double a, double b, double tol, const char *what, const char *file,
                       int line);

/* Fails the test with err's words unless status is OK. */
#define gdfo_test_ok(status, err) gdfo_test_ok_at((status), (err), __FILE__, __LINE__)
void gdfo_test_ok_at(enum gdfo_status status, const struct gdfo_error *err, const char *file,
                     int line);

/* $GDFO_SHARED, else ../shared beside the source tree. */
const char *gdfo_test_shared(void);

/* Full path of a shared file, in static storage (four are kept); fails the test, naming it, when it
 * is missing. */
const char *gdfo_test_shared_path(const char *relative);

/* Reads a shared file whole; fails the test when it is missing. Caller deinits b. */
void gdfo_test_shared_read(const char *relative, struct gdfo_buf *b);

/* The SmolLM2 model file: $GDFO_MODEL, else what deploy/fetch-model left in the cache; fails the
 * test when missing. */
const char *gdfo_test_model_path(void);

/* A fresh private folder below $TMPDIR; removed by gdfo_test_rmdir. Caller frees with
 * gdfo_mem_free. */
char *gdfo_test_mkdir(void);
void gdfo_test_rmdir(char *path);

#endif
