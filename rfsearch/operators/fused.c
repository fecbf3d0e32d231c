/* The mixture of nested pools in two passes over the batch, and two back (notation: fused.py).

   A block is the channels that fit one vector; a tile is a block of one image,
   or of a stack of small ones, as [image][height][width]. An image's blocks follow one another, so
   that its pages are near; what slides along a line keeps its window in registers; and a base is
   used as soon as it is made. No sum crosses a channel: the result is the same for any number of
   threads. */

#ifdef __AVX__
#include <immintrin.h>
#endif
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif

#if defined __AVX512F__
#define BYTES 64
#elif defined __AVX__
#define BYTES 32
#else
#define BYTES 16 /* a wider vector than the processor has would be taken apart, number by number */
#endif

enum {
    LANES = BYTES / sizeof(REAL), /* channels of a block */
    FOLD = 64,                 /* pixels that are summed in REAL before they go to a double */
    NEAR = 3,                  /* reach of the windows that are kept in registers */
    MOST = 64,                 /* bases there is room for */
    APART = 5,                 /* vectors between tiles, lest they share sets of the first cache */
};

typedef REAL vec __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias));
typedef __typeof__((vec){0} > (vec){0}) mask;
typedef double sums[LANES];

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
    int64_t height, width, map;        /* map: pixels of an image */
    int64_t stack, pixels, size;       /* images of a tile, its pixels, vectors to the next tile */
    int64_t maxima, averages;
    int64_t first, blocks;             /* of channels */
    int64_t channel, valid;            /* of the block at hand: its first, how many */
    int asked[MOST];                   /* bases that are a candidate */
    vec *x, *g, *u, *d;                /* tiles */
    vec *rows, *pools;                 /* tiles of row maxima T_1.., and of M_1.. */
    vec *above, *line;                 /* rows */
    REAL *area;                        /* 1 / pixels in a window, for each A_s, [height][width] */
    vec *vecs, *shift, *slope, *pull, *push;   /* of all blocks; of the one at hand, [base] */
    sums *doubles, *sum, *square, *total;      /* likewise; the total is one */
} Work;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* Positions of a line that a window of that reach around one of them has in it. */
static int64_t inside(int64_t at, int64_t reach, int64_t length) {
    return least(length, at + reach + 1) - most(0, at - reach);
}

static int64_t bases(const Shape *s) { return 1 + s->maxima + s->averages; }

static const vec *base_of(const Work *w, int64_t b) {
    return b ? w->pools + (b - 1) * w->size : w->x;
}

/* Compilers know a maximum of scalars, and not of vectors. */
static inline vec larger(vec a, vec b) {
#if defined __AVX512F__
    if (sizeof(REAL) == 4) return (vec)_mm512_max_ps((__m512)a, (__m512)b);
    return (vec)_mm512_max_pd((__m512d)a, (__m512d)b);
#elif defined __AVX__
    if (sizeof(REAL) == 4) return (vec)_mm256_max_ps((__m256)a, (__m256)b);
    return (vec)_mm256_max_pd((__m256d)a, (__m256d)b);
#else
    mask first = a > b;
    return (vec)((first & (mask)a) | (~first & (mask)b));
#endif
}

static inline vec where(mask yes, vec a) { return (vec)(yes & (mask)a); }

/* Along a row, or a line whose positions are `step` apart -------------------------------- */

static inline void slide_max(vec *out, const vec *in, int64_t length) {
    vec before = in[0], here = in[0];
    for (int64_t i = 0; i + 1 < length; i++) {
        vec after = in[i + 1];
        out[i] = larger(larger(before, here), after);
        before = here, here = after;
    }
    out[length - 1] = larger(before, here);
}

/* out = the share each x has in u, the gradient of m, the maxima of three neighbours in x: of
   those that tie the first has it all. */
static inline void slide_spread(vec *out, const vec *u, const vec *m, const vec *x, int64_t length,
                                int64_t step) {
    vec before, here = *x;
    mask top = here == *m;                              /* nothing stands before the first */
    vec back = where(top, *u), own = where(~top, *u);   /* what i - 1, and i, have so far */
    for (int64_t i = 1; i < length; i++, out += step) {
        u += step, m += step, x += step;
        before = here, here = *x;
        mask first = before == *m, second = ~first & (here == *m);
        *out = back + where(first, *u);
        back = own + where(second, *u);
        own = where(~first & ~second, *u);
    }
    *out = back;
}

/* out = the sums of windows of a row, cut at its ends; near ones stay in registers. */
static inline __attribute__((always_inline)) void
slide_sum_near(vec *out, const vec *in, int64_t length, const int reach) {
    vec none = {0}, window[2 * NEAR + 1];
    for (int t = 0; t <= 2 * reach; t++) {
        int at = t - reach - 1;
        window[t] = at >= 0 && at < length ? in[at] : none;
    }
#pragma GCC unroll 8
    for (int64_t i = 0; i < length; i++) {
        for (int t = 0; t < 2 * reach; t++) window[t] = window[t + 1];
        window[2 * reach] = i + reach < length ? in[i + reach] : none;
        vec sum = window[0];
        for (int t = 1; t <= 2 * reach; t++) sum += window[t];
        out[i] = sum;
    }
}

static void slide_sum(vec *out, const vec *in, int64_t length, int64_t reach) {
    switch (reach) {
    case 1: slide_sum_near(out, in, length, 1); return;
    case 2: slide_sum_near(out, in, length, 2); return;
    case 3: slide_sum_near(out, in, length, 3); return;
    }
    for (int64_t i = 0; i < length; i++) {
        int64_t from = most(0, i - reach), many = inside(i, reach, length);
        vec sum = in[from];
        for (int64_t t = 1; t < many; t++) sum += in[from + t];
        out[i] = sum;
    }
}

/* out = the sum of `taps` rows that follow one another. */
static inline __attribute__((always_inline)) void
sum_rows_of(vec *out, const vec *in, int64_t width, const int64_t taps) {
    for (int64_t j = 0; j < width; j++) {
        vec sum = in[j];
        for (int64_t t = 1; t < taps; t++) sum += in[t * width + j];
        out[j] = sum;
    }
}

static void sum_rows(vec *out, const vec *in, int64_t width, int64_t taps) {
    switch (taps) {
    case 2: sum_rows_of(out, in, width, 2); return;
    case 3: sum_rows_of(out, in, width, 3); return;
    case 4: sum_rows_of(out, in, width, 4); return;
    case 5: sum_rows_of(out, in, width, 5); return;
    case 6: sum_rows_of(out, in, width, 6); return;
    case 7: sum_rows_of(out, in, width, 7); return;
    }
    sum_rows_of(out, in, width, taps);
}

/* Over tiles ----------------------------------------------------------------------------- */

#define EACH_IMAGE for (int64_t o = 0; o < w->pixels; o += w->map)
#define EACH_PIXEL for (int64_t i = 0, end = w->pixels; i < end; i++)

static void load(vec *tile, const Work *w, const Map *map, int64_t image) {
    const REAL *from = map->data + image * map->stride[0] + w->channel * map->stride[1];
    int64_t step = map->stride[1], whole = step == 1 && w->valid == LANES;
    EACH_IMAGE {
        for (int64_t i = 0; i < w->height; i++)
            for (int64_t j = 0; j < w->width; j++, tile++) {
                const REAL *at = from + i * map->stride[2] + j * map->stride[3];
                if (whole) *tile = *(const vec *)at, __builtin_prefetch(at + LANES, 0, 2);
                else
                    for (int64_t l = 0; l < LANES; l++)
                        (*tile)[l] = l < w->valid ? at[l * step] : 0;
            }
        from += map->stride[0];
    }
}

static void store(const vec *tile, const Work *w, const Map *map, int64_t image) {
    REAL *into = map->data + image * map->stride[0] + w->channel * map->stride[1];
    int64_t step = map->stride[1], whole = step == 1 && w->valid == LANES;
    EACH_IMAGE {
        for (int64_t i = 0; i < w->height; i++)
            for (int64_t j = 0; j < w->width; j++, tile++) {
                REAL *at = into + i * map->stride[2] + j * map->stride[3];
                if (whole) *(vec *)at = *tile;
                else
                    for (int64_t l = 0; l < w->valid; l++) at[l * step] = (*tile)[l];
            }
        into += map->stride[0];
    }
}

/* out = the maxima of nine neighbours in an image, made of the row maxima. */
static void widen(const Work *w, vec *rows, vec *out, const vec *in) {
    int64_t width = w->width, height = w->height;
    slide_max(rows, in, width);
    for (int64_t i = 0; i < height; i++, rows += width, out += width) {
        int64_t up = i ? width : 0, down = i + 1 < height ? width : 0;
        in += width;
        if (down) slide_max(rows + down, in, width);
        for (int64_t j = 0; j < width; j++)
            out[j] = larger(larger(rows[j - up], rows[j]), rows[j + down]);
    }
}

/* M_1.. of the tile x, with the row maxima they are made of. */
static void maxima(Work *w) {
    for (int64_t r = 0; r < w->maxima; r++)
        EACH_IMAGE widen(w, w->rows + r * w->size + o, w->pools + r * w->size + o,
                         base_of(w, r) + o);
}

/* line = row i of the sums of windows of an image. */
static void box(Work *w, const vec *in, int64_t i, int64_t s) {
    int64_t from = most(0, i - s);
    sum_rows(w->above, in + from * w->width, w->width, inside(i, s, w->height));
    slide_sum(w->line, w->above, w->width, s);
}

/* d = A_s of the tile x. */
static void average(Work *w, int64_t s) {
    const REAL *area = w->area + (s - 1) * w->map;
    int64_t width = w->width;
    EACH_IMAGE for (int64_t i = 0; i < w->height; i++) {
        vec *out = w->d + o + i * width, *line = w->line;
        box(w, w->x + o, i, s);
        for (int64_t j = 0; j < width; j++) out[j] = line[j] * area[i * width + j];
    }
}

typedef void use(Work *w, int64_t b, const vec *v);

/* Every base asked for, and x, is used while it is near. */
static void each_base(Work *w, use *f) {
    f(w, 0, w->x);
    maxima(w);
    for (int64_t r = 1; r <= w->maxima; r++)
        if (w->asked[r]) f(w, r, w->pools + (r - 1) * w->size);
    for (int64_t s = 1; s <= w->averages; s++)
        if (w->asked[w->maxima + s]) average(w, s), f(w, w->maxima + s, w->d);
}

static inline void fold(double *sum, vec part) {
    for (int l = 0; l < LANES; l++) sum[l] += part[l];
}

/* Σ (v − shift) and its square over the pixels. */
static void tally(Work *w, int64_t n, const vec *v) {
    vec s = w->shift[n];
    for (int64_t i = 0; i < w->pixels;) {
        vec a = {0}, b = {0}, c = {0}, d = {0};
        int64_t end = least(w->pixels, i + FOLD);
        for (; i + 1 < end; i += 2) { /* two chains: additions wait */
            vec e = v[i] - s, f = v[i + 1] - s;
            a += e, b += f, c += e * e, d += f * f;
        }
        for (; i < end; i++) a += v[i] - s, c += (v[i] - s) * (v[i] - s);
        fold(w->sum[n], a + b), fold(w->square[n], c + d);
    }
}

/* Σ g·(v − shift) over the pixels. */
static void product(Work *w, int64_t n, const vec *v) {
    vec s = w->shift[n];
    for (int64_t i = 0; i < w->pixels;) {
        vec a = {0}, b = {0};
        int64_t end = least(w->pixels, i + FOLD);
        for (; i + 1 < end; i += 2) a += w->g[i] * (v[i] - s), b += w->g[i + 1] * (v[i + 1] - s);
        for (; i < end; i++) a += w->g[i] * (v[i] - s);
        fold(w->square[n], a + b);
    }
}

/* Σ g over the pixels. */
static void total(Work *w) {
    for (int64_t i = 0; i < w->pixels;) {
        vec a = {0};
        int64_t end = least(w->pixels, i + FOLD);
        for (; i < end; i++) a += w->g[i];
        fold(*w->total, a);
    }
}

/* u = x + Σ_b pull_b · v_b + push_0; pull_0 has x's own 1 in it. */
static void combine(Work *w, int64_t b, const vec *v) {
    vec *u = w->u, k = w->pull[b], c = w->push[0];
    if (b) EACH_PIXEL u[i] += k * v[i];
    else EACH_PIXEL u[i] = k * v[i] + c;
}

/* out += slope·g + pull·v + push. */
static void affine(const Work *w, vec *out, int64_t b, const vec *v) {
    vec *g = w->g, k = w->slope[b], m = w->pull[b], c = w->push[b];
    EACH_PIXEL out[i] += k * g[i] + (m * v[i] + c);
}

/* d = (slope·g + pull·A_s + push) / pixels in the window, and its sums over windows go to u. */
static void send_back_mean(Work *w, int64_t s) {
    int64_t b = w->maxima + s, width = w->width;
    vec *g = w->g, *d = w->d, *line = w->line;
    vec k = w->slope[b], m = w->pull[b], c = w->push[b];
    const REAL *area = w->area + (s - 1) * w->map;
    average(w, s);
    EACH_IMAGE for (int64_t i = 0; i < w->map; i++)
        d[o + i] = (k * g[o + i] + (m * d[o + i] + c)) * area[i];
    EACH_IMAGE for (int64_t i = 0; i < w->height; i++) {
        vec *out = w->u + o + i * width;
        box(w, d + o, i, s);
        for (int64_t j = 0; j < width; j++) out[j] += line[j];
    }
}

/* u = the gradient of x: each base's own, sent back through its windows. */
static void send_back(Work *w) {
    int64_t width = w->width, height = w->height;
    maxima(w);
    memset(w->u, 0, w->pixels * sizeof(vec));
    for (int64_t r = w->maxima; r > 0; r--) {
        const vec *rows = w->rows + (r - 1) * w->size, *v = base_of(w, r), *in = base_of(w, r - 1);
        if (w->asked[r]) affine(w, w->u, r, v);
        EACH_IMAGE for (int64_t j = o; j < o + width; j++)
            slide_spread(w->d + j, w->u + j, v + j, rows + j, height, width);
        for (int64_t i = 0; i < w->pixels; i += width)
            slide_spread(w->u + i, w->d + i, rows + i, in + i, width, 1);
    }
    affine(w, w->u, 0, w->x);
    for (int64_t s = 1; s <= w->averages; s++)
        if (w->asked[w->maxima + s]) send_back_mean(w, s);
}

/* Work ----------------------------------------------------------------------------------- */

static void settle(Work *w, const Shape *s) {
    for (int64_t k = 0; k < s->candidates; k++) w->asked[s->base[k]] = 1;
    for (int64_t a = 1; a <= s->averages; a++)
        for (int64_t i = 0; i < w->map; i++) {
            int64_t rows = inside(i / w->width, a, w->height);
            w->area[(a - 1) * w->map + i] = (REAL)1 / (rows * inside(i % w->width, a, w->width));
        }
}

static Work *begin(const Shape *s, int64_t part) {
    int64_t many = bases(s), map = s->height * s->width;
    int64_t stack = least(s->images, most(1, FOLD / map)), size = stack * map + APART;
    int64_t all = (s->channels + LANES - 1) / LANES, first = all * part / s->threads;
    int64_t blocks = all * (part + 1) / s->threads - first;
    int64_t vecs = size * (4 + 2 * s->maxima) + 2 * s->width + blocks * 4 * many;
    int64_t bytes = sizeof(Work) + 64 + blocks * (2 * many + 1) * sizeof(sums) +
                    vecs * sizeof(vec) + s->averages * map * sizeof(REAL);
    Work *w = malloc(bytes);
    if (!w) return NULL;
    *w = (Work){.height = s->height, .width = s->width, .map = map, .stack = stack, .size = size,
                .first = first, .blocks = blocks, .maxima = s->maxima, .averages = s->averages};
    vec *at = (vec *)(((uintptr_t)(w + 1) + 63) / 64 * 64);
    vec **tiles[] = {&w->x, &w->g, &w->u, &w->d};
    for (int i = 0; i < 4; i++) *tiles[i] = at, at += size;
    w->rows = at, at += s->maxima * size;
    w->pools = at, at += s->maxima * size;
    w->above = at, w->line = at + s->width, at += 2 * s->width;
    w->vecs = at, at += blocks * 4 * many;
    w->doubles = (sums *)at;
    w->area = (REAL *)(w->doubles + blocks * (2 * many + 1));
    settle(w, s);
    return w;
}

/* The numbers of a block are at hand, for the images from n on. */
static void enter(Work *w, const Shape *s, int64_t n, int64_t block) {
    int64_t many = bases(s);
    w->channel = (w->first + block) * LANES;
    w->valid = least(LANES, s->channels - w->channel);
    w->shift = w->vecs + block * 4 * many, w->slope = w->shift + many;
    w->pull = w->slope + many, w->push = w->pull + many;
    w->sum = w->doubles + block * (2 * many + 1), w->square = w->sum + many;
    w->total = w->square + many;
    w->pixels = least(w->stack, s->images - n) * w->map;
}

#define EACH_BLOCK_FROM(n) for (int64_t k = 0; k < w->blocks && (enter(w, s, n, k), 1); k++)
#define EACH_BLOCK EACH_BLOCK_FROM(0)
#define EACH_TILE for (int64_t n = 0; n < s->images; n += w->stack) EACH_BLOCK_FROM(n)

/* The mean of every base in the first tile is its shift. */
static void guess(Work *w, const Shape *s) {
    memset(w->sum, 0, 2 * bases(s) * sizeof(sums));
    memset(w->shift, 0, bases(s) * sizeof(vec));
    each_base(w, tally);
    for (int64_t b = 0; b < bases(s); b++)
        for (int64_t l = 0; l < LANES; l++) w->shift[b][l] = (REAL)(w->sum[b][l] / w->pixels);
    memset(w->sum, 0, 2 * bases(s) * sizeof(sums));
}

/* Statistics of every base asked for, to mean and variance, [base][channels]. */
static void measure(Work *w, const Shape *s, const Map *x, double *mean, double *variance) {
    double count = (double)s->images * w->map;
    EACH_TILE {
        load(w->x, w, x, n);
        if (!n) guess(w, s);
        each_base(w, tally);
    }
    EACH_BLOCK for (int64_t b = 0; b < bases(s); b++)
        for (int64_t l = 0; l < w->valid; l++) {
            int64_t to = b * s->channels + w->channel + l;
            double off = w->sum[b][l] / count + 0 * w->sum[0][l]; /* a maximum may lose a NaN */
            mean[to] = w->shift[b][l] + off;
            variance[to] = fmax(w->square[b][l] / count - off * off, 0) + 0 * off;
        }
}

static void mix_part(Work *w, const Shape *s, const Map *x, const Map *y, const double *share,
                     const REAL *gamma, const REAL *beta, double *mean, double *variance) {
    int64_t many = bases(s);
    double all = 0;
    measure(w, s, x, mean, variance);
    for (int64_t b = 0; b < many; b++) all += share[b];
    EACH_BLOCK for (int64_t l = 0; l < LANES; l++) {
        int64_t c = w->channel + l;
        double offset = l < w->valid ? all * beta[c] : 0;
        for (int64_t b = 0; b < many; b++) {
            int64_t from = b * s->channels + c;
            double k = l < w->valid ? share[b] * gamma[c] / sqrt(variance[from] + s->eps) : 0;
            offset -= l < w->valid ? k * mean[from] : 0;
            w->pull[b][l] = (REAL)(k + !b);
        }
        w->push[0][l] = (REAL)offset;
    }
    EACH_TILE {
        load(w->x, w, x, n);
        each_base(w, combine);
        store(w->u, w, y, n);
    }
}

/* Σ g and Σ g·(v − mean) of every base asked for, to total and square. */
static void correlate(Work *w, const Shape *s, const Map *x, const Map *g, const double *mean) {
    EACH_BLOCK {
        memset(w->sum, 0, (2 * bases(s) + 1) * sizeof(sums));
        memset(w->shift, 0, bases(s) * sizeof(vec));
        for (int64_t b = 0; b < bases(s); b++)
            for (int64_t l = 0; l < w->valid; l++)
                w->shift[b][l] = (REAL)mean[b * s->channels + w->channel + l];
    }
    EACH_TILE {
        load(w->x, w, x, n);
        load(w->g, w, g, n);
        total(w);
        each_base(w, product);
    }
}

static void unmix_part(Work *w, const Shape *s, const Map *x, const Map *g, const Map *dx,
                       const double *share, const REAL *gamma, const double *mean,
                       const double *variance, double *along, double *total) {
    int64_t many = bases(s);
    double count = (double)s->images * w->map;
    correlate(w, s, x, g, mean);
    memset(w->vecs, 0, w->blocks * 4 * many * sizeof(vec));
    EACH_BLOCK for (int64_t b = 0; b < many; b++)
        for (int64_t l = 0; l < w->valid; l++) {
            int64_t c = w->channel + l, from = b * s->channels + c;
            double r = 1 / sqrt(variance[from] + s->eps), sum = (*w->total)[l];
            /* what float left of the mean is taken off the correlation here */
            double slope = w->square[b][l] - (mean[from] - (REAL)mean[from]) * sum;
            double k = share[b] * gamma[c] * r, pull = -k * r * r * slope / count;
            along[from] = r * slope;
            total[c] = sum;
            w->slope[b][l] = (REAL)(k + !b);
            w->pull[b][l] = (REAL)pull;
            w->push[b][l] = (REAL)(-k * sum / count - pull * mean[from]);
        }
    if (dx->data) EACH_TILE {
        load(w->x, w, x, n);
        load(w->g, w, g, n);
        send_back(w);
        store(w->u, w, dx, n);
    }
}

/* What is called ------------------------------------------------------------------------- */

#define EACH_PART(CALL)                                                                           \
    int failed = 0;                                                                               \
    _Pragma("omp parallel for num_threads(s->threads) schedule(static) if (s->threads > 1)")      \
    for (int64_t part = 0; part < s->threads; part++) {                                           \
        Work *w = begin(s, part);                                                                 \
        if (w) CALL;                                                                              \
        else failed = 1;                                                                          \
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
    double share[MOST];
    gather(s, p, share);
    EACH_PART(mix_part(w, s, x, y, share, gamma, beta, mean, variance));
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
    double share[MOST], all = 0;
    gather(s, p, share);
    EACH_PART(unmix_part(w, s, x, g, dx, share, gamma, mean, variance, along, total));
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
