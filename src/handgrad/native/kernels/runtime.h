/* What generated steps are written with: vectors of the CPU's width, functions, positions.

   The functions are plain C without branches, so that a compiler runs as many at once as a vector
   holds. In float they are polynomials, within 4 ulp; in double, the C library's. */

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline, unused))

/* bits */

INLINE float bits_to_float(uint32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
INLINE uint32_t float_to_bits(float x) { uint32_t bits; memcpy(&bits, &x, 4); return bits; }

/* tests, choices, positions */

INLINE bool hg_isnanf(float x) { return x != x; }
INLINE bool hg_isnan(double x) { return x != x; }
INLINE bool hg_isinff(float x) { return fabsf(x) == INFINITY; }
INLINE bool hg_isinf(double x) { return fabs(x) == (double)INFINITY; }
INLINE bool hg_isfinitef(float x) { return fabsf(x) < INFINITY; }
INLINE bool hg_isfinite(double x) { return fabs(x) < (double)INFINITY; }

/* NaN wins; hg_maxn is for a second operand that is a number known ahead */
INLINE float hg_maxf(float a, float b) { return (a > b) | (a != a) ? a : b; }
INLINE float hg_minf(float a, float b) { return (a < b) | (a != a) ? a : b; }
INLINE double hg_max(double a, double b) { return (a > b) | (a != a) ? a : b; }
INLINE double hg_min(double a, double b) { return (a < b) | (a != a) ? a : b; }
INLINE float hg_maxnf(float a, float b) { return a < b ? b : a; }
INLINE float hg_minnf(float a, float b) { return a > b ? b : a; }
INLINE double hg_maxn(double a, double b) { return a < b ? b : a; }
INLINE double hg_minn(double a, double b) { return a > b ? b : a; }
INLINE int64_t hg_max_whole(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t hg_min_whole(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t hg_whole_abs_whole(int64_t a) { return a < 0 ? -a : a; }
INLINE int64_t hg_whole_sign_whole(int64_t a) { return (a > 0) - (a < 0); }

INLINE int hg_floordiv(int a, int b) { return a / b - (a % b < 0); }
INLINE int hg_mod(int a, int b) { return a % b + (a % b < 0 ? b : 0); }

/* a place that an array names: from the end if negative, and never outside */
INLINE int hg_wrap(int64_t at, int size) {
    at += at < 0 ? size : 0;
    return at < 0 || at >= size ? 0 : (int)at;
}

/* copies rows of the data side by side; small rows without a call for each */
INLINE void hg_gather(char *to, const char *data, int64_t bytes, const int64_t *rows, int64_t n) {
    if (bytes % 8 || bytes > 64) {
        for (int64_t i = 0; i < n; i++) memcpy(to + i * bytes, data + rows[i] * bytes, bytes);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t at = 0; at < bytes; at += 8)
            memcpy(to + i * bytes + at, data + rows[i] * bytes + at, 8);
}

/* asks for the first and last bytes of rows before they are needed */
INLINE void hg_fetch(const char *data, int64_t bytes, const int64_t *rows, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        __builtin_prefetch(data + rows[i] * bytes);
        if (bytes > 8) __builtin_prefetch(data + rows[i] * bytes + bytes - 1);
    }
}

INLINE float hg_absf(float x) { return fabsf(x); }
INLINE double hg_abs(double x) { return fabs(x); }
INLINE float hg_signf(float x) { return x > 0 ? 1.0f : x < 0 ? -1.0f : x != x ? x : 0.0f; }
INLINE double hg_sign(double x) { return x > 0 ? 1.0 : x < 0 ? -1.0 : x != x ? x : 0.0; }
INLINE float hg_remainderf(float x, float by) {
    float r = fmodf(x, by);
    return r != 0 && (r < 0) != (by < 0) ? r + by : r;
}
INLINE double hg_remainder(double x, double by) {
    double r = fmod(x, by);
    return r != 0 && (r < 0) != (by < 0) ? r + by : r;
}
INLINE int64_t hg_remainder_whole(int64_t x, int64_t by) {
    int64_t r = x % by;
    return r != 0 && (r < 0) != (by < 0) ? r + by : r;
}

/* exp: x = n log(2) + r with abs(r) <= log(2)/2, a polynomial in r, and 2^n in two factors, so that
   results below the least normal number are right too; beyond those numbers any n will do */
INLINE float hg_expf(float x) {
    float z = x * 1.44269504f + 12582912.0f; /* its lowest bits are n */
    float n = z - 12582912.0f;
    float r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    uint32_t k = float_to_bits(z) - 0x4b400000u;
    uint32_t half = (uint32_t)((int32_t)k >> 1);
    float y = p * bits_to_float((half + 127u) << 23);
    y = y * bits_to_float((k - half + 127u) << 23);
    y = x > 88.72284f ? INFINITY : y;
    return x < -104.0f ? 0.0f : y; /* NaN has stayed */
}

/* log: x = 2^n m with m in [sqrt(1/2), sqrt(2)), and a polynomial in m - 1 */
INLINE float hg_logf(float x) {
    bool tiny = x < 1.17549435e-38f;
    float s = tiny ? x * 8388608.0f : x;
    uint32_t bits = float_to_bits(s) - 0x3f3504f3u;
    float n = (float)((int32_t)bits >> 23) - (tiny ? 23.0f : 0.0f);
    float m = bits_to_float((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    float z = m * m;
    float p = 7.0376836292e-2f;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    float y = m * z * p - n * 2.12194440e-4f - 0.5f * z;
    y = m + y + n * 0.693359375f;
    y = x == INFINITY ? x : y;
    return x > 0 ? y : x == 0 ? -INFINITY : NAN;
}

INLINE float hg_expm1f(float x) {
    /* near 0 a polynomial; elsewhere exp(x) - 1 loses nothing that counts */
    float p = 1.9841270e-4f;
    p = p * x + 1.3888889e-3f;
    p = p * x + 8.3333333e-3f;
    p = p * x + 4.1666668e-2f;
    p = p * x + 1.6666667e-1f;
    p = p * x + 0.5f;
    float near = p * x * x + x;
    return fabsf(x) < 0.35f ? near : hg_expf(x) - 1.0f;
}

INLINE float hg_log1pf(float x) {
    /* log(u) with u = 1 + x as rounded, and what the rounding lost put back */
    float u = 1.0f + x;
    float lost = x - (u - 1.0f);
    float y = hg_logf(u) + lost / u;
    return x == INFINITY ? x : fabsf(x) < 1e-4f ? x - 0.5f * x * x : u == 0 ? -INFINITY : y;
}

INLINE float hg_sigmoidf(float x) {
    float e = hg_expf(-fabsf(x));
    return (x >= 0 ? 1.0f : e) / (1.0f + e) + (x != x ? x : 0.0f);
}

/* tanh: p / q is a fit of tanh(x / 2), and tanh(x) = 2 p q / (p^2 + q^2) = t / (t + (q - p)^2)
   with t = 2 p q: what t was rounded by counts for little where the result is near 1, which it
   is at 9.02 and never beyond */
INLINE float hg_tanhf(float x) {
    float a = fabsf(x);
    float c = 9.02f < a ? 9.02f : a; /* NaN stays */
    float s = c * c;
    float p = 1.58190062e-7f;
    p = p * s + 2.96694721e-4f;
    p = p * s + 5.86203896e-2f;
    p = p * s + 1.86287498f;
    p = p * c;
    float q = 1.01235064e-5f;
    q = q * s + 5.1889047e-3f;
    q = q * s + 4.27719772e-1f;
    q = q * s + 3.72574997f;
    float t = 2.0f * p * q, d = q - p;
    return copysignf(t / (d * d + t), x);
}

/* erf: an odd polynomial up to 0.93, then 1 - exp of a polynomial */
INLINE float hg_erff(float x) {
    float t = fabsf(x), s = x * x;
    float r = -1.72853470e-5f * t + 3.83197126e-4f;
    float u = -3.88396438e-3f * t + 2.42546219e-2f;
    r = r * s + u;
    r = r * t - 1.06777877e-1f;
    r = r * t - 6.34846687e-1f;
    r = r * t - 1.28717512e-1f;
    r = r * t - t;
    float far = copysignf(1.0f - hg_expf(t > 4.0f ? -104.0f : r), x);
    float p = -5.96761703e-4f;
    p = p * s + 4.99119423e-3f;
    p = p * s - 2.67681349e-2f;
    p = p * s + 1.12819925e-1f;
    p = p * s - 3.76125336e-1f;
    p = p * s + 1.28379166e-1f;
    float near = p * x + x;
    return x != x ? x : t > 0.927734375f ? far : near;
}

INLINE double hg_sigmoid(double x) {
    double e = exp(-fabs(x));
    return (x >= 0 ? 1.0 : e) / (1.0 + e);
}

#define LIBRARY_FUNCTION(name) INLINE double hg_##name(double x) { return name(x); }
#define LIBRARY_FUNCTIONS(name) \
    LIBRARY_FUNCTION(name) INLINE float hg_##name##f(float x) { return name##f(x); }
LIBRARY_FUNCTION(exp) LIBRARY_FUNCTION(log) LIBRARY_FUNCTION(expm1) LIBRARY_FUNCTION(log1p)
LIBRARY_FUNCTION(tanh) LIBRARY_FUNCTION(erf)
LIBRARY_FUNCTIONS(sqrt) LIBRARY_FUNCTIONS(sin) LIBRARY_FUNCTIONS(cos) LIBRARY_FUNCTIONS(tan)
LIBRARY_FUNCTIONS(asin) LIBRARY_FUNCTIONS(acos) LIBRARY_FUNCTIONS(atan)
LIBRARY_FUNCTIONS(sinh) LIBRARY_FUNCTIONS(cosh) LIBRARY_FUNCTIONS(log2) LIBRARY_FUNCTIONS(log10)
LIBRARY_FUNCTIONS(floor) LIBRARY_FUNCTIONS(ceil) LIBRARY_FUNCTIONS(trunc) LIBRARY_FUNCTIONS(rint)

INLINE float hg_powf(float x, float y) { return powf(x, y); }
INLINE double hg_pow(double x, double y) { return pow(x, y); }
