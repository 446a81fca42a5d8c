#include "tests/support/test.h"

#include "common/file.h"
#include "common/mem.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096

void gdfo_test_near_at(double a, double b, double tol, const char *what, const char *file, int line)
{
    double scale = fabs(b) > 1.0 ? fabs(b) : 1.0;
    if (!(fabs(a - b) <= tol * scale)) {
        print_error("%s is %.17g, want %.17g within %g\n", what, a, b, tol);
        _fail(file, line);
    }
}

void gdfo_test_ok_at(enum gdfo_status status, const struct gdfo_error *err, const char *file,
                     int line)
{
    if (status != GDFO_STATUS_OK) {
        print_error("status %s: %s\n", gdfo_status_name(status), err ? err->text : "");
        _fail(file, line);
    }
}

const char *gdfo_test_shared(void)
{
    const char *dir = getenv("GDFO_SHARED");
    return dir && *dir ? dir : "../shared";
}

const char *gdfo_test_shared_path(const char *relative)
{
    static char paths[4][PATH_BYTES];
    static int turn;
    char *path = paths[turn++ % 4];
    (void)snprintf(path, PATH_BYTES, "%s/%s", gdfo_test_shared(), relative);
    if (access(path, R_OK) != 0) {
        print_error("shared file %s is missing: set GDFO_SHARED to the folder that holds it\n",
                    path);
        fail();
    }
    return path;
}

void gdfo_test_shared_read(const char *relative, struct gdfo_buf *b)
{
    struct gdfo_error err = {0};
    gdfo_buf_init(b, (size_t)64 << 20);
    gdfo_test_ok(gdfo_file_read(gdfo_test_shared_path(relative), b, &err), &err);
}

const char *gdfo_test_model_path(void)
{
    static char path[PATH_BYTES];
    const char *given = getenv("GDFO_MODEL");
    const char *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (given && *given) {
        (void)snprintf(path, sizeof path, "%s", given);
    } else if (cache && *cache) {
        (void)snprintf(path, sizeof path, "%s/gdfo/SmolLM2-135M-Instruct.Q4_1.gguf", cache);
    } else {
        (void)snprintf(path, sizeof path, "%s/.cache/gdfo/SmolLM2-135M-Instruct.Q4_1.gguf",
                       home ? home : "");
    }
    if (access(path, R_OK) != 0) {
        print_error("model file %s is missing: run deploy/fetch-model, or set GDFO_MODEL\n", path);
        fail();
    }
    return path;
}

char *gdfo_test_mkdir(void)
{
    char path[PATH_BYTES];
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(path, sizeof path, "%s/gdfo-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(path));
    return gdfo_mem_dup_str(path);
}

static void remove_tree(const char *path)
{
    char child[PATH_BYTES];
    struct stat st;
    DIR *dir;
    struct dirent *entry;
    if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        (void)unlink(path);
        return;
    }
    dir = opendir(path);
    while (dir && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            (void)snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
            remove_tree(child);
        }
    }
    if (dir) {
        (void)closedir(dir);
    }
    (void)rmdir(path);
}

void gdfo_test_rmdir(char *path)
{
    if (path) {
        remove_tree(path);
        gdfo_mem_free(path);
    }
}
