/* The mixture of nested pools in two passes over one block of channels (notation: fused.py).

   A tile holds some channels of one image as [height][width][lanes]. A neighbour along the width
   is `lanes` away, one along the height `width * lanes`, so one function serves either axis, and
   every inner loop runs over memory that lies side by side. No sum crosses a channel or depends
   on how channels are cut into blocks: the result is the same for any number of threads. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif

enum {
    LANES = 32 / sizeof(REAL), /* of one vector */
    STEP = 64 / sizeof(REAL),  /* channels of a cache line: blocks are multiples of it */
    TILE = 2048,               /* numbers of a tile aimed at: a few of them fit the first cache */
    FOLD = 64,                 /* pixels that are summed in REAL before they go to a double */
};

typedef REAL vec __attribute__((vector_size(32), aligned(sizeof(REAL)), may_alias));

typedef struct { /* a map (N, C, H, W) of any strides, counted in numbers */
    REAL *data;
    int64_t stride[4];
} Map;

typedef struct {
    int64_t images, channels, height, width;
    int64_t maxima, averages; /* M_1.. and A_1..: v_b is x, then these */
    int64_t candidates, threads;
    const int64_t *base; /* b(k), for each candidate */
    double eps;
} Shape;

typedef struct { /* what one thread works with */
    int64_t height, width, pixels, lanes, valid, maxima, averages;
    REAL *x, *g, *u, *d, *line; /* tiles */
    REAL *rows, *pools;         /* row maxima T_1..; M_1.. and then A_1.. */
    REAL *inverse;              /* 1 / columns in a window, for each A_s, [width][lanes] */
    REAL *area;                 /* 1 / pixels in a window, for each A_s, [height][width] */
    REAL *nan, *zero;           /* a row of each */
    REAL *shift, *slope, *pull, *push; /* [base][lanes] */
    double *sum, *square, *total;
} Work;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* Positions of a line that a window of that reach around one of them has in it. */
static int64_t inside(int64_t at, int64_t reach, int64_t length) {
    return least(length, at + reach + 1) - most(0, at - reach);
}

static int64_t block(const Shape *s) {
    int64_t share = (s->channels + s->threads - 1) / s->threads;
    int64_t wanted = most(1, TILE / (s->height * s->width * STEP)) * STEP;
    return least(wanted, (share + STEP - 1) / STEP * STEP);
}

static int64_t bases(const Shape *s) { return 1 + s->maxima + s->averages; }

static const REAL *base_of(const Work *w, int64_t b) {
    return b ? w->pools + (b - 1) * w->pixels * w->lanes : w->x;
}

/* Elementwise ---------------------------------------------------------------------------- */

static void max3(REAL *restrict out, const REAL *a, const REAL *b, const REAL *c, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        REAL m = a[i] > b[i] ? a[i] : b[i];
        out[i] = m > c[i] ? m : c[i];
    }
}

static void add(REAL *restrict out, const REAL *restrict in, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] += in[i];
}

static void add2(REAL *restrict out, const REAL *a, const REAL *b, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] += a[i] + b[i];
}

/* The sum of `taps` rows that follow one another: added to out, or times scale and an array. */
static void sum_rows(REAL *restrict out, const REAL *restrict in, int64_t taps, int64_t n,
                     REAL scale, const REAL *restrict by) {
    const REAL *a = in, *b = a + n, *c = b + n, *d = c + n, *e = d + n, *f = e + n, *h = f + n;
#define OVER(SUM)                                                                                 \
    if (by) for (int64_t i = 0; i < n; i++) out[i] = (SUM) * (scale * by[i]);                     \
    else for (int64_t i = 0; i < n; i++) out[i] += (SUM)
    switch (taps) {
    case 1: OVER(a[i]); return;
    case 2: OVER(a[i] + b[i]); return;
    case 3: OVER(a[i] + b[i] + c[i]); return;
    case 4: OVER(a[i] + b[i] + c[i] + d[i]); return;
    case 5: OVER(a[i] + b[i] + c[i] + d[i] + e[i]); return;
    case 6: OVER(a[i] + b[i] + c[i] + d[i] + e[i] + f[i]); return;
    case 7: OVER(a[i] + b[i] + c[i] + d[i] + e[i] + f[i] + h[i]); return;
    }
    if (by) memset(out, 0, n * sizeof(REAL));
    for (int64_t t = 0; t < taps; t++) add(out, in + t * n, n);
    for (int64_t i = 0; by && i < n; i++) out[i] *= scale * by[i];
#undef OVER
}

/* The gradient that one position x0 of a line has from the maxima of three windows: mp, the one
   after it, where it is the first tap; mc, its own; mm, the one before, where it is the last.
   Of taps that tie the first has it all. A comparison with NaN tells that a tap is not there. */
static void spread(REAL *restrict out, const REAL *up, const REAL *uc, const REAL *um,
                   const REAL *mp, const REAL *mc, const REAL *mm,
                   const REAL *x0, const REAL *x1, const REAL *x2, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        REAL after = x0[i] == mp[i] ? up[i] : 0;
        REAL own = (x0[i] == mc[i]) & (x1[i] != mc[i]) ? uc[i] : 0;
        REAL before = (x1[i] != mm[i]) & (x2[i] != mm[i]) ? um[i] : 0;
        out[i] = after + own + before;
    }
}

/* Along one axis ------------------------------------------------------------------------- */

static void slide_max(REAL *out, const REAL *in, int64_t length, int64_t span) {
    const REAL *end = in + (length - 1) * span;
    max3(out, in, in, length > 1 ? in + span : in, span);
    if (length > 2) max3(out + span, in, in + span, in + 2 * span, (length - 2) * span);
    if (length > 1) max3(out + (length - 1) * span, end - span, end, end, span);
}

static void slide_spread(REAL *out, const REAL *u, const REAL *m, const REAL *x,
                         const Work *w, int64_t length, int64_t span) {
    for (int64_t i = 0, many; i < length; i += many) {
        many = i == 2 && length > 3 ? length - 3 : 1; /* positions with all three windows */
        int64_t at = i * span;
        spread(out + at, i + many < length ? u + at + span : w->zero, u + at,
               i ? u + at - span : w->zero, i + many < length ? m + at + span : w->nan, m + at,
               i ? m + at - span : w->nan, x + at, i ? x + at - span : w->nan,
               i > 1 ? x + at - 2 * span : w->nan, many * span);
    }
}

/* What stands `by` positions before and after is added, along each row. */
static void add_both_sides(REAL *out, const REAL *in, const Work *w, int64_t by) {
    int64_t span = w->width * w->lanes, shift = by * w->lanes;
    int64_t both = span - 2 * shift, one = least(shift, span - shift);
    for (int64_t i = 0; i < w->height && one > 0; i++, out += span, in += span) {
        add(out, in + shift, one);
        if (both > 0) add2(out + shift, in, in + 2 * shift, both);
        add(out + span - one, in + span - one - shift, one);
    }
}

/* Windows of 2s + 1 rows, cut at the border: out = their means, of the columns' too; or out += sums. */
static void slide_sum(REAL *out, const REAL *in, const Work *w, int64_t s, int means) {
    int64_t span = w->width * w->lanes;
    for (int64_t i = 0; i < w->height; i++) {
        int64_t low = most(0, i - s), taps = inside(i, s, w->height);
        sum_rows(out + i * span, in + low * span, taps, span, (REAL)1 / taps,
                 means ? w->inverse + (s - 1) * span : NULL);
    }
}

/* Over tiles ----------------------------------------------------------------------------- */

static void load(REAL *tile, const Work *w, const Map *map, int64_t image, int64_t channel) {
    const REAL *from = map->data + image * map->stride[0] + channel * map->stride[1];
    int64_t step = map->stride[1], whole = step == 1 && w->valid == w->lanes;
    for (int64_t i = 0; i < w->height; i++)
        for (int64_t j = 0; j < w->width; j++, tile += w->lanes) {
            const REAL *at = from + i * map->stride[2] + j * map->stride[3];
            for (int64_t l = 0; whole && l < w->lanes; l += LANES)
                *(vec *)(tile + l) = *(const vec *)(at + l);
            for (int64_t l = 0; !whole && l < w->lanes; l++)
                tile[l] = l < w->valid ? at[l * step] : 0;
        }
}

static void store(const REAL *tile, const Work *w, const Map *map, int64_t image, int64_t channel) {
    REAL *into = map->data + image * map->stride[0] + channel * map->stride[1];
    int64_t step = map->stride[1], whole = step == 1 && w->valid == w->lanes;
    for (int64_t i = 0; i < w->height; i++)
        for (int64_t j = 0; j < w->width; j++, tile += w->lanes) {
            REAL *at = into + i * map->stride[2] + j * map->stride[3];
            for (int64_t l = 0; whole && l < w->lanes; l += LANES)
                *(vec *)(at + l) = *(const vec *)(tile + l);
            for (int64_t l = 0; !whole && l < w->valid; l++) at[l * step] = tile[l];
        }
}

/* All v_b of the tile x. */
static void pool(Work *w) {
    int64_t span = w->width * w->lanes, size = w->height * span;
    const REAL *last = w->x;
    for (int64_t r = 0; r < w->maxima; r++) {
        REAL *rows = w->rows + r * size, *out = w->pools + r * size;
        for (int64_t i = 0; i < w->height; i++)
            slide_max(rows + i * span, last + i * span, w->width, w->lanes);
        slide_max(out, rows, w->height, span);
        last = out;
    }
    if (w->averages) memcpy(w->line, w->x, size * sizeof(REAL));
    for (int64_t s = 1; s <= w->averages; s++) {
        add_both_sides(w->line, w->x, w, s);
        slide_sum(w->pools + (w->maxima + s - 1) * size, w->line, w, s, 1);
    }
}

/* Σ (v − shift) and its square over the pixels. */
static void tally(const Work *w, const REAL *v, const REAL *shift, double *sum, double *square) {
    int64_t all = w->pixels * w->lanes, fold = FOLD * w->lanes;
    for (int64_t l = 0; l < w->lanes; l += LANES)
        for (int64_t first = l; first < all; first += fold) {
            vec s = *(const vec *)(shift + l), a = {0}, b = {0}, c = {0}, d = {0};
            int64_t end = least(all, first + fold), i = first;
            for (; i + w->lanes < end; i += 2 * w->lanes) { /* two chains: additions wait */
                vec e = *(const vec *)(v + i) - s, f = *(const vec *)(v + i + w->lanes) - s;
                a += e, b += f, c += e * e, d += f * f;
            }
            for (; i < end; i += w->lanes) {
                vec e = *(const vec *)(v + i) - s;
                a += e, c += e * e;
            }
            a += b, c += d;
            for (i = 0; i < LANES; i++) sum[l + i] += a[i], square[l + i] += c[i];
        }
}

/* Σ g·(v − shift) over the pixels. */
static void product(const Work *w, const REAL *v, const REAL *shift, double *sum) {
    int64_t all = w->pixels * w->lanes, fold = FOLD * w->lanes;
    for (int64_t l = 0; l < w->lanes; l += LANES)
        for (int64_t first = l; first < all; first += fold) {
            vec s = *(const vec *)(shift + l), a = {0}, b = {0};
            int64_t end = least(all, first + fold), i = first;
            for (; i + w->lanes < end; i += 2 * w->lanes) {
                a += *(const vec *)(w->g + i) * (*(const vec *)(v + i) - s);
                b += *(const vec *)(w->g + i + w->lanes) *
                     (*(const vec *)(v + i + w->lanes) - s);
            }
            if (i < end) a += *(const vec *)(w->g + i) * (*(const vec *)(v + i) - s);
            a += b;
            for (i = 0; i < LANES; i++) sum[l + i] += a[i];
        }
}

/* out += slope·g + pull·v + push, a number each for every lane. */
static void affine(const Work *w, REAL *out, int64_t b) {
    const REAL *v = base_of(w, b), *slope = w->slope + b * w->lanes;
    const REAL *pull = w->pull + b * w->lanes, *push = w->push + b * w->lanes;
    for (int64_t l = 0; l < w->lanes; l += LANES) {
        vec k = *(const vec *)(slope + l), m = *(const vec *)(pull + l);
        vec c = *(const vec *)(push + l);
        for (int64_t i = l; i < w->pixels * w->lanes; i += w->lanes)
            *(vec *)(out + i) +=
                k * *(const vec *)(w->g + i) + (m * *(const vec *)(v + i) + c);
    }
}

/* out = (slope·g + pull·v + push) / pixels in the window, for the base A_s. */
static void affine_mean(const Work *w, REAL *out, int64_t s) {
    int64_t b = w->maxima + s;
    const REAL *v = base_of(w, b), *slope = w->slope + b * w->lanes, *area = w->area;
    const REAL *pull = w->pull + b * w->lanes, *push = w->push + b * w->lanes;
    area += (s - 1) * w->pixels;
    for (int64_t l = 0; l < w->lanes; l += LANES) {
        vec k = *(const vec *)(slope + l), m = *(const vec *)(pull + l);
        vec c = *(const vec *)(push + l);
        for (int64_t p = 0, i = l; p < w->pixels; p++, i += w->lanes)
            *(vec *)(out + i) =
                (k * *(const vec *)(w->g + i) + (m * *(const vec *)(v + i) + c)) * area[p];
    }
}

/* u = x + Σ_b pull_b · v_b + push_0; pull_0 has x's own 1 in it. */
static void combine(const Work *w, int64_t many) {
    for (int64_t l = 0; l < w->lanes; l += LANES)
        for (int64_t i = 0; i < w->pixels; i++) {
            vec y = *(const vec *)(w->push + l);
            for (int64_t b = 0; b < many; b++)
                y += *(const vec *)(w->pull + b * w->lanes + l) *
                     *(const vec *)(base_of(w, b) + i * w->lanes + l);
            *(vec *)(w->u + i * w->lanes + l) = y;
        }
}

/* u = the gradient of x: each base's own, sent back through what made it. */
static void send_back(Work *w) {
    int64_t span = w->width * w->lanes, size = w->height * span;
    memset(w->u, 0, size * sizeof(REAL));
    for (int64_t r = w->maxima; r > 0; r--) {
        const REAL *rows = w->rows + (r - 1) * size, *below = base_of(w, r - 1);
        affine(w, w->u, r);
        slide_spread(w->d, w->u, base_of(w, r), rows, w, w->height, span);
        for (int64_t i = 0; i < w->height; i++)
            slide_spread(w->u + i * span, w->d + i * span, rows + i * span, below + i * span, w,
                         w->width, w->lanes);
    }
    affine(w, w->u, 0);
    memset(w->line, 0, size * sizeof(REAL));
    for (int64_t s = w->averages; s > 0; s--) { /* line: the sum of all windows as wide or wider */
        affine_mean(w, w->d, s);
        slide_sum(w->line, w->d, w, s, 0);
        add_both_sides(w->u, w->line, w, s);
    }
    add(w->u, w->line, size);
}

/* Work ----------------------------------------------------------------------------------- */

static void settle(Work *w, const Shape *s) {
    int64_t span = w->width * w->lanes;
    for (int64_t i = 0; i < span; i++) w->nan[i] = NAN, w->zero[i] = 0;
    for (int64_t a = 1; a <= s->averages; a++) {
        for (int64_t i = 0; i < span; i++)
            w->inverse[(a - 1) * span + i] = (REAL)1 / inside(i / w->lanes, a, w->width);
        for (int64_t i = 0; i < w->pixels; i++) {
            int64_t rows = inside(i / w->width, a, w->height);
            w->area[(a - 1) * w->pixels + i] = (REAL)1 / (rows * inside(i % w->width, a, w->width));
        }
    }
}

static Work *begin(const Shape *s) {
    int64_t lanes = block(s), many = bases(s), span = s->width * lanes, size = s->height * span;
    int64_t reals = size * (5 + s->maxima + many - 1) + span * (s->averages + 2) +
                    s->averages * s->height * s->width + 4 * many * lanes;
    int64_t doubles = (3 * many + 1) * lanes;
    int64_t bytes = sizeof(Work) + 64 + doubles * sizeof(double) + reals * sizeof(REAL);
    Work *w = malloc(bytes);
    if (!w) return NULL;
    *w = (Work){.height = s->height, .width = s->width, .pixels = s->height * s->width,
                .lanes = lanes, .maxima = s->maxima, .averages = s->averages};
    w->sum = (double *)(((uintptr_t)(w + 1) + 63) / 64 * 64);
    w->square = w->sum + many * lanes;
    w->total = w->square + many * lanes;
    REAL *at = (REAL *)(w->sum + doubles);
    REAL **tiles[] = {&w->x, &w->g, &w->u, &w->d, &w->line};
    for (int i = 0; i < 5; i++) *tiles[i] = at, at += size;
    w->rows = at, at += s->maxima * size;
    w->pools = at, at += (many - 1) * size;
    w->inverse = at, at += span * s->averages;
    w->area = at, at += s->averages * w->pixels;
    w->nan = at, w->zero = at + span, at += 2 * span;
    REAL **lines[] = {&w->shift, &w->slope, &w->pull, &w->push};
    for (int i = 0; i < 4; i++) *lines[i] = at, at += many * lanes;
    settle(w, s);
    return w;
}

/* Statistics of every base, to mean and rstd, [base][channels]. */
static void measure(Work *w, const Shape *s, const Map *x, int64_t channel, double *mean,
                    double *variance) {
    int64_t many = bases(s), lanes = w->lanes;
    double count = (double)s->images * w->pixels;
    for (int64_t n = -1; n < s->images; n++) { /* first: image 0 gives the shift */
        if (n < 1) memset(w->sum, 0, 2 * many * lanes * sizeof(double));
        if (n < 0) memset(w->shift, 0, many * lanes * sizeof(REAL));
        if (n != 0) load(w->x, w, x, most(n, 0), channel), pool(w);
        for (int64_t b = 0; b < many; b++)
            tally(w, base_of(w, b), w->shift + b * lanes, w->sum + b * lanes,
                  w->square + b * lanes);
        for (int64_t i = 0; n < 0 && i < many * lanes; i++)
            w->shift[i] = (REAL)(w->sum[i] / w->pixels);
    }
    for (int64_t b = 0; b < many; b++)
        for (int64_t l = 0; l < w->valid; l++) {
            int64_t i = b * lanes + l, to = b * s->channels + channel + l;
            double off = w->sum[i] / count + 0 * w->sum[l]; /* a maximum may lose a NaN; x's not */
            mean[to] = w->shift[i] + off;
            variance[to] = fmax(w->square[i] / count - off * off, 0) + 0 * off;
        }
}

static void mix_block(Work *w, const Shape *s, const Map *x, const Map *y, int64_t channel,
                      const double *share, const REAL *gamma, const REAL *beta,
                      double *mean, double *variance) {
    int64_t many = bases(s);
    double all = 0;
    measure(w, s, x, channel, mean, variance);
    for (int64_t b = 0; b < many; b++) all += share[b];
    for (int64_t l = 0; l < w->lanes; l++) {
        double offset = 0;
        for (int64_t b = 0; b < many; b++) {
            int64_t from = b * s->channels + channel + l;
            double k = l < w->valid ? share[b] * gamma[channel + l] / sqrt(variance[from] + s->eps)
                                    : 0;
            offset += l < w->valid ? all * beta[channel + l] * !b - k * mean[from] : 0;
            w->pull[b * w->lanes + l] = (REAL)(k + !b);
        }
        w->push[l] = (REAL)offset;
    }
    for (int64_t n = 0; n < s->images; n++) {
        load(w->x, w, x, n, channel);
        pool(w);
        combine(w, many);
        store(w->u, w, y, n, channel);
    }
}

/* Σ g and Σ g·(v − mean) of every base, to total and square. */
static void correlate(Work *w, const Shape *s, const Map *x, const Map *g, int64_t channel,
                      const double *mean) {
    int64_t many = bases(s), lanes = w->lanes;
    memset(w->sum, 0, 3 * many * lanes * sizeof(double));
    for (int64_t i = 0; i < many * lanes; i++) {
        int64_t l = i % lanes;
        w->shift[i] = l < w->valid ? (REAL)mean[i / lanes * s->channels + channel + l] : 0;
    }
    for (int64_t n = 0; n < s->images; n++) {
        load(w->x, w, x, n, channel);
        load(w->g, w, g, n, channel);
        pool(w);
        tally(w, w->g, w->zero, w->total, w->sum);
        for (int64_t b = 0; b < many; b++)
            product(w, base_of(w, b), w->shift + b * lanes, w->square + b * lanes);
    }
}

static void unmix_block(Work *w, const Shape *s, const Map *x, const Map *g, const Map *dx,
                        int64_t channel, const double *share, const REAL *gamma,
                        const double *mean, const double *variance, double *along, double *total) {
    int64_t many = bases(s), lanes = w->lanes;
    double count = (double)s->images * w->pixels;
    correlate(w, s, x, g, channel, mean);
    memset(w->slope, 0, 3 * many * lanes * sizeof(REAL));
    for (int64_t b = 0; b < many; b++)
        for (int64_t l = 0; l < w->valid; l++) {
            int64_t i = b * lanes + l, from = b * s->channels + channel + l;
            double r = 1 / sqrt(variance[from] + s->eps);
            /* what float left of the mean is taken off the correlation here */
            double c = w->square[i] - (mean[from] - w->shift[i]) * w->total[l];
            double k = share[b] * gamma[channel + l] * r, pull = -k * r * r * c / count;
            along[from] = r * c;
            total[channel + l] = w->total[l];
            w->slope[i] = (REAL)(k + !b);
            w->pull[i] = (REAL)pull;
            w->push[i] = (REAL)(-k * w->total[l] / count - pull * mean[from]);
        }
    for (int64_t n = 0; dx->data && n < s->images; n++) {
        load(w->x, w, x, n, channel);
        load(w->g, w, g, n, channel);
        pool(w);
        send_back(w);
        store(w->u, w, dx, n, channel);
    }
}

/* What is called ------------------------------------------------------------------------- */

#define EACH_BLOCK(CALL)                                                                          \
    int failed = 0;                                                                               \
    int64_t lanes = block(s);                                                                     \
    _Pragma("omp parallel num_threads(s->threads) if (s->threads > 1)") {                         \
        Work *w = begin(s);                                                                       \
        if (!w) failed = 1;                                                                       \
        _Pragma("omp for schedule(static)")                                                       \
        for (int64_t channel = 0; channel < s->channels; channel += lanes) {                      \
            if (!w) continue;                                                                     \
            w->valid = least(lanes, s->channels - channel);                                       \
            CALL;                                                                                 \
        }                                                                                         \
        free(w);                                                                                  \
    }                                                                                             \
    if (failed) return 1

static void gather(const Shape *s, const REAL *p, double *share) {
    memset(share, 0, bases(s) * sizeof(double));
    for (int64_t k = 0; k < s->candidates; k++) share[s->base[k]] += p[k];
}

/* y, mean and variance (biased), [base][channels]; 1 if there is no memory. */
int mix(const Shape *s, const Map *x, const Map *y, const REAL *p, const REAL *gamma,
        const REAL *beta, double *mean, double *variance) {
    double share[64];
    gather(s, p, share);
    EACH_BLOCK(mix_block(w, s, x, y, channel, share, gamma, beta, mean, variance));
    return 0;
}

/* The running statistics of every candidate follow the batch's. */
int follow(const Shape *s, const double *momentum, REAL *const *means, REAL *const *variances,
            const double *mean, const double *variance) {
    double count = (double)s->images * s->height * s->width;
    for (int64_t k = 0; k < s->candidates; k++)
        for (int64_t c = 0; c < s->channels; c++) {
            int64_t from = s->base[k] * s->channels + c;
            double unbiased = variance[from] * count / (count - 1);
            means[k][c] += (REAL)(momentum[k] * (mean[from] - means[k][c]));
            variances[k][c] += (REAL)(momentum[k] * (unbiased - variances[k][c]));
        }
    return 0;
}

/* Gradients of x (none if dx has no data), p, gamma and beta; 1 if there is no memory. */
int unmix(const Shape *s, const Map *x, const Map *g, const Map *dx, const REAL *p,
          const REAL *gamma, const REAL *beta, const double *mean, const double *variance,
          double *along, double *total, REAL *dp, REAL *dgamma, REAL *dbeta) {
    double share[64], all = 0;
    gather(s, p, share);
    EACH_BLOCK(unmix_block(w, s, x, g, dx, channel, share, gamma, mean, variance, along, total));
    for (int64_t b = 0; b < bases(s); b++) all += share[b];
    for (int64_t c = 0; c < s->channels; c++) {
        double slope = 0;
        for (int64_t b = 0; b < bases(s); b++) slope += share[b] * along[b * s->channels + c];
        dgamma[c] = (REAL)slope;
        dbeta[c] = (REAL)(all * total[c]);
    }
    for (int64_t k = 0; k < s->candidates; k++) {
        double slope = 0;
        for (int64_t c = 0; c < s->channels; c++)
            slope += gamma[c] * along[s->base[k] * s->channels + c] + beta[c] * total[c];
        dp[k] = (REAL)slope;
    }
    return 0;
}
