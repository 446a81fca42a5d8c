#include "client/cli/bench/plot.h"

#include "client/cli/bench/doc.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define WIDTH     380.0
#define HEIGHT    250.0
#define LEFT      46.0
#define RIGHT     10.0
#define TOP       26.0
#define BOTTOM    38.0
#define TICKS_MAX 16

struct frame {
    double x_low, x_high, y_low, y_high;
    int is_log, is_empty;
};

/* ---- scales ---- */

static double x_of(const struct frame *f, double x)
{
    double a = f->is_log ? log(f->x_low) : f->x_low, b = f->is_log ? log(f->x_high) : f->x_high;
    double v = f->is_log ? log(x) : x;
    return LEFT + (WIDTH - LEFT - RIGHT) * (b > a ? (v - a) / (b - a) : 0.5);
}

static double y_of(const struct frame *f, double y)
{
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - f->y_low) / (f->y_high - f->y_low);
}

static void widen(struct frame *f, const struct gdfo_plot_line *line)
{
    for (size_t i = 0; i < line->n; i++) {
        const struct gdfo_plot_point *p = &line->points[i];
        double spread = isfinite(p->spread) ? p->spread : 0.0;
        f->y_low = fmin(f->y_low, p->y - spread);
        f->y_high = fmax(f->y_high, p->y + spread);
        if (!line->is_rule) {
            f->x_low = fmin(f->x_low, p->x);
            f->x_high = fmax(f->x_high, p->x);
        }
    }
}

static struct frame frame_of(const struct gdfo_plot *plot)
{
    struct frame f = {
        (double)INFINITY, -(double)INFINITY, (double)INFINITY, -(double)INFINITY, 0, 0};
    double margin;
    for (size_t i = 0; i < plot->n_lines; i++) {
        widen(&f, &plot->lines[i]);
    }
    if (!isfinite(f.y_low)) {
        f.is_empty = 1;
        return f;
    }
    if (!isfinite(f.x_low)) { /* rules alone */
        f.x_low = 0.0;
        f.x_high = 1.0;
    }
    f.is_log = f.x_low > 0.0 && f.x_high > 4.0 * f.x_low;
    margin = 0.06 * (f.y_high - f.y_low);
    margin = margin > 0.0 ? margin : 0.05 * fmax(fabs(f.y_high), 0.1);
    f.y_low -= margin;
    f.y_high += margin;
    margin = f.is_log ? 0.0 : 0.04 * (f.x_high - f.x_low);
    f.x_low = f.is_log ? f.x_low / 1.12 : f.x_low - margin;
    f.x_high = f.is_log ? f.x_high * 1.12 : f.x_high + margin;
    if (f.x_high <= f.x_low) {
        f.x_low -= 1.0;
        f.x_high += 1.0;
    }
    return f;
}

/* ---- ticks ---- */

void gdfo_plot_ticks(double low, double high, int n, double *ticks, size_t max, size_t *n_out)
{
    static const double steps[] = {1.0, 2.0, 2.5, 5.0, 10.0};
    double raw = (high - low) / (n > 0 ? n : 1), step, first;
    *n_out = 0;
    if (!(raw > 0.0) || !isfinite(raw)) {
        return;
    }
    step = pow(10.0, floor(log10(raw)));
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (steps[i] * step >= raw * 0.999) {
            step *= steps[i];
            break;
        }
    }
    first = ceil(low / step - 1e-9);
    for (size_t i = 0; i < max && (first + (double)i) * step <= high * (1 + 1e-12); i++) {
        ticks[(*n_out)++] = (first + (double)i) * step;
    }
}

/* 1, 3, 10, 30, ... inside [low, high]; powers of ten alone when there are many. */
static void log_ticks(double low, double high, double *ticks, size_t *n_out)
{
    int is_wide = high / low > 2e4;
    *n_out = 0;
    for (int e = (int)floor(log10(low)); e <= (int)ceil(log10(high)); e++) {
        for (int k = 0; k < (is_wide ? 1 : 2); k++) {
            double t = pow(10.0, e) * (k ? 3.0 : 1.0);
            if (t >= low && t <= high && *n_out < TICKS_MAX) {
                ticks[(*n_out)++] = t;
            }
        }
    }
}

/* 30000 as 30k: the axis of tokens has no room for zeros. */
static void tick_text(double v, char *out, size_t size)
{
    if (fabs(v) >= 1e6) {
        (void)snprintf(out, size, "%.3gM", v / 1e6);
    } else if (fabs(v) >= 1e4) {
        (void)snprintf(out, size, "%.3gk", v / 1e3);
    } else {
        (void)snprintf(out, size, "%.4g", fabs(v) < 1e-12 ? 0.0 : v);
    }
}

static void put_y_axis(const struct frame *f, struct gdfo_buf *out)
{
    double ticks[TICKS_MAX];
    char text[32];
    size_t n;
    gdfo_plot_ticks(f->y_low, f->y_high, 7, ticks, TICKS_MAX, &n);
    for (size_t i = 0; i < n; i++) {
        double y = y_of(f, ticks[i]);
        tick_text(ticks[i], text, sizeof text);
        gdfo_buf_addf(out, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>", LEFT, y, WIDTH - RIGHT);
        gdfo_buf_addf(out,
                      "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>",
                      LEFT - 6.0, y + 3.5, text);
    }
}

static void put_x_axis(const struct frame *f, const char *label, struct gdfo_buf *out)
{
    double ticks[TICKS_MAX], bottom = HEIGHT - BOTTOM;
    char text[32];
    size_t n;
    if (f->is_log) {
        log_ticks(f->x_low, f->x_high, ticks, &n);
    }
    if (!f->is_log || n < 2) {
        gdfo_plot_ticks(f->x_low, f->x_high, 5, ticks, TICKS_MAX, &n);
    }
    gdfo_buf_addf(out, "<path class=\"axis\" d=\"M%.1f %.1fH%.1f\"/>", LEFT, bottom, WIDTH - RIGHT);
    for (size_t i = 0; i < n; i++) {
        double x = x_of(f, ticks[i]);
        tick_text(ticks[i], text, sizeof text);
        gdfo_buf_addf(out, "<path class=\"axis\" d=\"M%.1f %.1fv4\"/>", x, bottom);
        gdfo_buf_addf(out,
                      "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>",
                      x, bottom + 15.0, text);
    }
    gdfo_buf_addf(out, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">",
                  (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 6.0);
    gdfo_doc_html_text(out, label);
    gdfo_buf_add(out, "</text>");
}

/* ---- marks ---- */

static void put_mark(size_t style, double x, double y, struct gdfo_buf *out)
{
    switch (style / GDFO_PLOT_COLORS % 4) {
    case 0: gdfo_buf_addf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>", x, y); break;
    case 1: gdfo_buf_addf(out, "<path d=\"M%.1f %.1fh6v6h-6z\"/>", x - 3.0, y - 3.0); break;
    case 2: gdfo_buf_addf(out, "<path d=\"M%.1f %.1fl4 7h-8z\"/>", x, y - 4.0); break;
    default: gdfo_buf_addf(out, "<path d=\"M%.1f %.1fl4 4l-4 4l-4 -4z\"/>", x, y - 4.0); break;
    }
}

static const char *dash_of(size_t style)
{
    static const char *const dashes[] = {"", "7 3", "2 3", "9 3 2 3"};
    return dashes[style / GDFO_PLOT_COLORS % 4];
}

static void put_band(const struct frame *f, const struct gdfo_plot_line *line, struct gdfo_buf *out)
{
    size_t n_spread = 0;
    for (size_t i = 0; i < line->n; i++) {
        n_spread += isfinite(line->points[i].spread) ? 1 : 0;
    }
    if (n_spread < 2 || line->is_rule) {
        return;
    }
    gdfo_buf_add(out, "<path class=\"band\" d=\"");
    for (size_t i = 0; i < 2 * line->n; i++) {
        const struct gdfo_plot_point *p = &line->points[i < line->n ? i : 2 * line->n - 1 - i];
        double spread = isfinite(p->spread) ? p->spread : 0.0;
        gdfo_buf_addf(out, "%c%.1f %.1f", i ? 'L' : 'M', x_of(f, p->x),
                      y_of(f, i < line->n ? p->y + spread : p->y - spread));
    }
    gdfo_buf_add(out, "z\"/>");
}

static void put_line(const struct frame *f, const struct gdfo_plot_line *line, struct gdfo_buf *out)
{
    gdfo_buf_addf(out, "<path class=\"line\" stroke-dasharray=\"%s\" d=\"",
                  line->is_rule ? "5 4" : dash_of(line->style));
    if (line->is_rule) {
        gdfo_buf_addf(out, "M%.1f %.1fH%.1f", LEFT, y_of(f, line->points[0].y), WIDTH - RIGHT);
    }
    for (size_t i = 0; i < line->n && !line->is_rule; i++) {
        gdfo_buf_addf(out, "%c%.1f %.1f", i ? 'L' : 'M', x_of(f, line->points[i].x),
                      y_of(f, line->points[i].y));
    }
    gdfo_buf_add(out, "\">");
    if (line->is_rule) {
        gdfo_buf_add(out, "<title>");
        gdfo_doc_html_text(out, line->points[0].tip);
        gdfo_buf_add(out, "</title>");
    }
    gdfo_buf_add(out, "</path>");
}

static void put_points(const struct frame *f, const struct gdfo_plot_line *line,
                       struct gdfo_buf *out)
{
    for (size_t i = 0; i < line->n && !line->is_rule; i++) {
        gdfo_buf_add(out, "<g class=\"mark\"><title>");
        gdfo_doc_html_text(out, line->points[i].tip);
        gdfo_buf_add(out, "</title>");
        put_mark(line->style, x_of(f, line->points[i].x), y_of(f, line->points[i].y), out);
        gdfo_buf_add(out, "</g>");
    }
}

void gdfo_plot_svg(const struct gdfo_plot *plot, struct gdfo_buf *out)
{
    struct frame f = frame_of(plot);
    gdfo_buf_addf(out, "<svg class=\"plot\" viewBox=\"0 0 %.0f %.0f\" role=\"img\"><title>", WIDTH,
                  HEIGHT);
    gdfo_doc_html_text(out, plot->title);
    gdfo_buf_addf(out, "</title><text class=\"name\" x=\"%.1f\" y=\"15\">", LEFT);
    gdfo_doc_html_text(out, plot->title);
    gdfo_buf_add(out, "</text>");
    if (f.is_empty) {
        gdfo_buf_addf(out,
                      "<text class=\"label\" x=\"%.1f\" y=\"%.1f\">nothing measured yet</text>",
                      LEFT, HEIGHT / 2.0);
    } else {
        put_y_axis(&f, out);
        put_x_axis(&f, plot->x_label, out);
    }
    for (int layer = 0; layer < 3 && !f.is_empty; layer++) { /* bands lie below all lines */
        for (size_t i = 0; i < plot->n_lines; i++) {
            const struct gdfo_plot_line *line = &plot->lines[i];
            if (line->n == 0) {
                continue;
            }
            gdfo_buf_addf(out, "<g class=\"k c%zu k%zu\">",
                          line->is_rule ? GDFO_PLOT_COLORS + line->style % 2
                                        : line->style % GDFO_PLOT_COLORS,
                          line->style);
            (layer == 0 ? put_band : layer == 1 ? put_line : put_points)(&f, line, out);
            gdfo_buf_add(out, "</g>\n");
        }
    }
    gdfo_buf_add(out, "</svg>\n");
}

void gdfo_plot_key(size_t style, int is_rule, struct gdfo_buf *out)
{
    gdfo_buf_addf(out,
                  "<svg class=\"key c%zu\" viewBox=\"0 0 30 12\"><path class=\"line\" "
                  "stroke-dasharray=\"%s\" d=\"M1 6H29\"/>",
                  is_rule ? GDFO_PLOT_COLORS + style % 2 : style % GDFO_PLOT_COLORS,
                  is_rule ? "5 4" : dash_of(style));
    if (!is_rule) {
        gdfo_buf_add(out, "<g class=\"mark\">");
        put_mark(style, 15.0, 6.0, out);
        gdfo_buf_add(out, "</g>");
    }
    gdfo_buf_add(out, "</svg>");
}
