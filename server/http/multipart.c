#include "server/http/multipart.h"

#include "common/mem.h"

#include <string.h>
#include <strings.h>

/*
 * DESIGN. The delimiter is CRLF "--" boundary, and the body is read as if a CRLF stood before it,
 * so that the first delimiter is like the others. A boundary holds no CR, so a CR can only begin a
 * delimiter: after a mismatch the bytes matched so far are content and matching starts anew with
 * the byte at hand.
 */
#define DELIMITER_MAX_BYTES (4 + GDFO_MULTIPART_BOUNDARY_BYTES)
#define LINE_MAX_BYTES      2048
#define HEADERS_MAX         16

enum state {
    STATE_PREAMBLE,
    STATE_DELIMITER, /* behind a delimiter: CRLF or "--" */
    STATE_HEADERS,
    STATE_CONTENT,
    STATE_EPILOGUE
};

struct gdfo_multipart {
    struct gdfo_multipart_sink sink;
    enum state state;
    char delimiter[DELIMITER_MAX_BYTES];
    size_t n_delimiter, n_matched;
    char line[LINE_MAX_BYTES + 1]; /* of a header, or the bytes behind a delimiter */
    size_t n_line, n_headers;
    unsigned n_parts;
    int has_name, has_filename;
    char name[GDFO_MULTIPART_NAME_BYTES];
    char filename[GDFO_MULTIPART_FILENAME_BYTES];
};

static enum gdfo_status bad(struct gdfo_error *err, const char *what)
{
    enum gdfo_status status =
        gdfo_error_set(err, GDFO_STATUS_FORMAT, "not multipart/form-data: %s", what);
    gdfo_error_at(err, "", "invalid_value");
    return status;
}

static const char *skip_blanks(const char *p)
{
    return p + strspn(p, " \t");
}

/*
 * Reads one ;name=value parameter at *p (which stands on the ';'), value bare or quoted with
 * backslashes. 1 on success; 0 when there is none or it is malformed.
 */
static int next_param(const char **p, char *name, size_t name_bytes, char *value,
                      size_t value_bytes)
{
    const char *s = skip_blanks(*p);
    size_t n, k = 0;
    if (*s != ';') {
        return 0;
    }
    s = skip_blanks(s + 1);
    n = strcspn(s, "= \t;\"");
    if (n == 0 || n >= name_bytes || s[n] != '=') {
        return 0;
    }
    memcpy(name, s, n);
    name[n] = '\0';
    s += n + 1;
    if (*s != '"') {
        k = strcspn(s, "; \t\"");
        if (k >= value_bytes) {
            return 0;
        }
        memcpy(value, s, k);
        s += k;
    } else {
        for (s++; *s && *s != '"' && k + 1 < value_bytes; s++) {
            s += *s == '\\' && (s[1] == '"' || s[1] == '\\');
            value[k++] = *s;
        }
        if (*s++ != '"') {
            return 0;
        }
    }
    value[k] = '\0';
    *p = s;
    return 1;
}

static int is_boundary_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c != '\0' && strchr("'()+_,-./:=? ", c));
}

enum gdfo_status gdfo_multipart_boundary(const char *content_type,
                                         char out[GDFO_MULTIPART_BOUNDARY_BYTES],
                                         struct gdfo_error *err)
{
    static const char type[] = "multipart/form-data";
    const char *p = content_type + sizeof type - 1;
    char name[32];
    char value[128];
    size_t n = 0;
    if (strncasecmp(content_type, type, sizeof type - 1) != 0) {
        return bad(err, "want that content type");
    }
    while (next_param(&p, name, sizeof name, value, sizeof value)) {
        if (strcasecmp(name, "boundary") == 0) {
            n = strlen(value);
            break;
        }
    }
    if (n == 0 || n >= GDFO_MULTIPART_BOUNDARY_BYTES || value[n - 1] == ' ') {
        return bad(err, "want a boundary of 1..70 characters");
    }
    for (size_t i = 0; i < n; i++) {
        if (!is_boundary_char(value[i])) {
            return bad(err, "a boundary with characters it may not have");
        }
    }
    memcpy(out, value, n + 1);
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_multipart_create(struct gdfo_multipart **out, const char *boundary,
                                       const struct gdfo_multipart_sink *sink,
                                       struct gdfo_error *err)
{
    struct gdfo_multipart *m;
    size_t n = strlen(boundary);
    if (n == 0 || n >= GDFO_MULTIPART_BOUNDARY_BYTES) {
        return bad(err, "want a boundary of 1..70 characters");
    }
    m = gdfo_mem_array(1, sizeof *m);
    if (!m) {
        return gdfo_error_no_memory(err, "reading an upload");
    }
    m->sink = *sink;
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, boundary, n);
    m->n_delimiter = n + 4;
    m->n_matched = 2; /* as if a CRLF stood before the body */
    *out = m;
    return GDFO_STATUS_OK;
}

void gdfo_multipart_destroy(struct gdfo_multipart *m)
{
    gdfo_mem_free(m);
}

static enum gdfo_status content(struct gdfo_multipart *m, const char *bytes, size_t n,
                                struct gdfo_error *err)
{
    if (m->state != STATE_CONTENT || n == 0) {
        return GDFO_STATUS_OK;
    }
    return m->sink.data(m->sink.ctx, bytes, n, err);
}

/* Content up to the next delimiter; *at is moved on. */
static enum gdfo_status read_content(struct gdfo_multipart *m, const char *bytes, size_t n,
                                     size_t *at, struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    if (m->n_matched == 0) {
        const char *cr = memchr(bytes + *at, '\r', n - *at);
        size_t k = cr ? (size_t)(cr - bytes) - *at : n - *at;
        status = content(m, bytes + *at, k, err);
        *at += k;
        m->n_matched = cr != NULL;
        *at += cr != NULL;
        return status;
    }
    if (bytes[*at] != m->delimiter[m->n_matched]) {
        size_t k = m->n_matched;
        m->n_matched = 0; /* the byte at hand is looked at again */
        return content(m, m->delimiter, k, err);
    }
    (*at)++;
    if (++m->n_matched == m->n_delimiter) {
        status = m->state == STATE_CONTENT ? m->sink.end(m->sink.ctx, err) : GDFO_STATUS_OK;
        m->state = STATE_DELIMITER;
        m->n_matched = m->n_line = 0;
    }
    return status;
}

static enum gdfo_status read_delimiter(struct gdfo_multipart *m, char c, struct gdfo_error *err)
{
    m->line[m->n_line++] = c;
    if (m->n_line < 2) {
        return GDFO_STATUS_OK;
    }
    if (memcmp(m->line, "--", 2) == 0) {
        m->state = STATE_EPILOGUE;
        return GDFO_STATUS_OK;
    }
    if (memcmp(m->line, "\r\n", 2) != 0) {
        return bad(err, "want a line end or '--' behind a boundary");
    }
    if (++m->n_parts > GDFO_MULTIPART_PARTS_MAX) {
        return bad(err, "more than 16 parts");
    }
    m->state = STATE_HEADERS;
    m->n_line = m->n_headers = 0;
    m->has_name = m->has_filename = 0;
    return GDFO_STATUS_OK;
}

static enum gdfo_status read_disposition(struct gdfo_multipart *m, const char *value,
                                         struct gdfo_error *err)
{
    static const char type[] = "form-data";
    char name[32];
    char text[GDFO_MULTIPART_FILENAME_BYTES];
    const char *p = value + sizeof type - 1;
    if (strncasecmp(value, type, sizeof type - 1) != 0 || m->has_name || m->has_filename) {
        return bad(err, "want one Content-Disposition: form-data in each part");
    }
    while (next_param(&p, name, sizeof name, text, sizeof text)) {
        size_t n = strlen(text);
        if (strcasecmp(name, "name") == 0 && !m->has_name && n < sizeof m->name) {
            memcpy(m->name, text, n + 1);
            m->has_name = 1;
        } else if (strcasecmp(name, "filename") == 0 && !m->has_filename) {
            memcpy(m->filename, text, n + 1);
            m->has_filename = 1;
        } else if (strcasecmp(name, "filename*") != 0) {
            return bad(err, "a Content-Disposition parameter that is unknown, double or too long");
        }
    }
    return *skip_blanks(p) == '\0' ? GDFO_STATUS_OK
                                   : bad(err, "a malformed or overlong Content-Disposition");
}

static enum gdfo_status read_header(struct gdfo_multipart *m, struct gdfo_error *err)
{
    char *colon = strchr(m->line, ':');
    const char *value;
    if (strlen(m->line) != m->n_line || !colon || ++m->n_headers > HEADERS_MAX) {
        return bad(err, "a malformed header line in a part");
    }
    *colon = '\0';
    value = skip_blanks(colon + 1);
    if (strcasecmp(m->line, "content-disposition") == 0) {
        return read_disposition(m, value, err);
    }
    if (strcasecmp(m->line, "content-transfer-encoding") == 0 && strcasecmp(value, "binary") != 0 &&
        strcasecmp(value, "8bit") != 0 && strcasecmp(value, "7bit") != 0) {
        return bad(err, "a Content-Transfer-Encoding that would change the bytes");
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status read_line(struct gdfo_multipart *m, char c, struct gdfo_error *err)
{
    enum gdfo_status status;
    if (m->n_line == LINE_MAX_BYTES) {
        return bad(err, "a header line of more than 2048 bytes in a part");
    }
    m->line[m->n_line++] = c;
    if (c != '\n') {
        return GDFO_STATUS_OK;
    }
    if (m->n_line < 2 || m->line[m->n_line - 2] != '\r') {
        return bad(err, "a header line that does not end in CRLF");
    }
    m->n_line -= 2;
    m->line[m->n_line] = '\0';
    if (m->n_line > 0) {
        status = read_header(m, err);
        m->n_line = 0;
        return status;
    }
    if (!m->has_name) {
        return bad(err, "a part without a name");
    }
    m->state = STATE_CONTENT;
    m->n_matched = 0;
    return m->sink.part(m->sink.ctx, m->name, m->has_filename ? m->filename : NULL, err);
}

enum gdfo_status gdfo_multipart_add(struct gdfo_multipart *m, const char *bytes, size_t n,
                                    struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    size_t at = 0;
    while (at < n && status == GDFO_STATUS_OK && m->state != STATE_EPILOGUE) {
        switch (m->state) {
        case STATE_PREAMBLE:
        case STATE_CONTENT: status = read_content(m, bytes, n, &at, err); break;
        case STATE_DELIMITER: status = read_delimiter(m, bytes[at++], err); break;
        case STATE_HEADERS: status = read_line(m, bytes[at++], err); break;
        case STATE_EPILOGUE: break;
        }
    }
    return status;
}

enum gdfo_status gdfo_multipart_end(const struct gdfo_multipart *m, struct gdfo_error *err)
{
    return m->state == STATE_EPILOGUE ? GDFO_STATUS_OK
                                      : bad(err, "the closing boundary is missing");
}
