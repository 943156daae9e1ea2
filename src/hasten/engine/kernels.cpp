// One step of a Llama-like decoder on a CPU, over a paged KV cache: the compiled twin of model.py.
//
// Every row (token) goes through the same operations in the same order whoever shares the step: sums over columns run
// upwards with one accumulator per output, int8 products are exact, and attention visits keys in blocks of 64 that start
// at multiples of 64 of the sequence; a block that a row may not see leaves it unchanged to the bit. So tokens do not
// depend on batch, chunks or cache hits.
//
// Layouts. Weights: [out / 64][in][64]; in fp32 [out / 32][in][32]; for int8 dot products [out / 64][in / 4][64][4] with
// 128 added.
// Keys: [layer][kv head][slot / 16][head_dim][16]; values: [layer][kv head][slot][head_dim]; head_dim padded to 16.

#include <immintrin.h>
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

namespace {

using half = uint16_t;  // fp16 bits

#if defined(__AVX512F__) && defined(__AVX512BW__)
using V = __m512;
constexpr int LANES = 16, WIDE = 4;  // WIDE vectors of 6 rows fill the registers
inline V set(float x) { return _mm512_set1_ps(x); }
inline V load(const float* p) { return _mm512_loadu_ps(p); }
inline V load(const half* p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }
inline V load(const int8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
}
inline V load_bf16(const uint16_t* p) {
  __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
inline void store(float* p, V x) { _mm512_storeu_ps(p, x); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
inline V add(V a, V b) { return _mm512_add_ps(a, b); }
inline V mul(V a, V b) { return _mm512_mul_ps(a, b); }
inline V div(V a, V b) { return _mm512_div_ps(a, b); }
inline V max(V a, V b) { return _mm512_max_ps(a, b); }
inline V abs(V a) { return _mm512_abs_ps(a); }
inline V round(V a) { return _mm512_roundscale_ps(a, 0); }
inline V power_of_two(V n) { return _mm512_scalef_ps(set(1.0f), n); }
inline float sum(V a) { return _mm512_reduce_add_ps(a); }
inline float largest(V a) { return _mm512_reduce_max_ps(a); }
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
using V = __m256;
constexpr int LANES = 8, WIDE = 2;
inline V set(float x) { return _mm256_set1_ps(x); }
inline V load(const float* p) { return _mm256_loadu_ps(p); }
inline V load(const half* p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
inline V load(const int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
}
inline V load_bf16(const uint16_t* p) {
  __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
inline void store(float* p, V x) { _mm256_storeu_ps(p, x); }
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline V add(V a, V b) { return _mm256_add_ps(a, b); }
inline V mul(V a, V b) { return _mm256_mul_ps(a, b); }
inline V div(V a, V b) { return _mm256_div_ps(a, b); }
inline V max(V a, V b) { return _mm256_max_ps(a, b); }
inline V abs(V a) { return _mm256_andnot_ps(set(-0.0f), a); }
inline V round(V a) { return _mm256_round_ps(a, 0); }
inline V power_of_two(V n) {
  __m256i bits = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23));
}
inline float sum(V a) {
  float x[8], total = 0;
  store(x, a);
  for (float each : x) total += each;
  return total;
}
inline float largest(V a) {
  float x[8];
  store(x, a);
  return *std::max_element(x, x + 8);
}
#else
#error "these kernels need AVX2, FMA and F16C"
#endif

#if defined(__AVX512VNNI__)
constexpr int GROUP = 4;  // int8 products summed by one instruction
#else
constexpr int GROUP = 1;  // int8 weights are widened to fp32
#endif

constexpr int ROWS = 6;      // rows that share a pass over WIDE vectors of weights or keys, at most
constexpr int ROWS_INT8 = 4; // as many as GCC 12 keeps in registers
// fp32 weights take longest to read: more rows share a pass over fewer vectors, lest memory wait while a second multiplies
constexpr int PAIR = 2, ROWS_PAIR = LANES == 16 ? 12 : 6;
constexpr int KEYS = 64;    // keys that attention takes at once
constexpr int QUERIES = 48; // rows of queries that share a pass over keys

enum Kind : int32_t { FP32, FP16, BF16, INT8 };

constexpr int PANEL = 64;  // output columns that lie together, at most
constexpr int panel_of(int32_t kind) { return kind == FP32 ? 32 : PANEL; }

}  // namespace

extern "C" {

struct Matrix {
  int32_t kind, out, in, unused;
  const void* data;
  const float* scale;  // int8: of each output
  const float* bias;   // may be null
};

struct Layer {
  const float *input_norm, *inner_norm, *q_norm, *k_norm;  // the last two may be null
  Matrix qkv, attended, gate_up, down;
  int64_t window;  // tokens, 0: all
};

struct Model {
  int32_t hidden, inner, heads, kv_heads, head_dim, num_layers, kv_kind, threads;
  float eps;
  int32_t embedding_kind;
  const void* embedding;  // [vocab, hidden]
  const Layer* layers;
  const float* norm;
  Matrix head;
  const float *cos, *sin;  // [positions, head_dim / 2]
};

struct Span {  // the tokens of one sequence in a step: `count` rows from `start`, after `context` tokens in KV
  int64_t start, count, context;
  const int64_t* slots;  // of all its tokens
};

// The first `decodes` rows are sequences that add one token each: row i reads the slots in row `entry[i]` of `table`. The
// chunks in `span` follow.
struct Step {
  int64_t tokens, decodes, spans, rows, num_slots, whole_groups;  // whole_groups: 16 tokens in a row lie in 16 aligned slots
  const int64_t *ids, *positions, *slots, *wanted;  // `wanted` rows give what is asked for, in rising order
  const int64_t *table, *entry;
  int64_t table_width;
  const Span* span;
  void *keys, *values;
  float* logits;    // [rows, vocab], or null
  int64_t* largest; // the token of each row's largest logit, the first of equal ones, or null
};

}  // extern "C"

namespace {

// exp(x) for x <= 88, after Cephes' expf; relative error about 1e-7. Below -87: 1e-38.
inline V exp(V x) {
  x = max(x, set(-87.0f));
  V n = round(mul(x, set(1.44269504f)));
  V f = fma(n, set(-0.693359375f), x);
  f = fma(n, set(2.12194440e-4f), f);
  V y = set(1.9875691500e-4f);
  y = fma(y, f, set(1.3981999507e-3f));
  y = fma(y, f, set(8.3334519073e-3f));
  y = fma(y, f, set(4.1665795894e-2f));
  y = fma(y, f, set(1.6666665459e-1f));
  y = fma(y, f, set(5.0000001201e-1f));
  y = add(fma(mul(f, f), y, f), set(1.0f));
  return mul(y, power_of_two(n));
}

inline float narrow(float x, float*) { return x; }
inline half narrow(float x, half*) { return _cvtss_sh(x, 0); }

inline int padded(int size, int to) { return (size + to - 1) / to * to; }

struct Share {  // what one thread does of `count` equal parts
  int64_t begin, end;
  Share(int64_t begin, int64_t end) : begin(begin), end(end) {}
  explicit Share(int64_t count) {
    int64_t self = omp_get_thread_num(), all = omp_get_num_threads();
    begin = count * self / all;
    end = count * (self + 1) / all;
  }
};

// Waits for all threads: spins as long as a step's parts take, then lets others run, for the mate it waits for may have
// lost its core.
class Barrier {
 public:
  void wait() {
    const int all = omp_get_num_threads(), turn = turn_.load();
    if (arrived_.fetch_add(1) + 1 == all) {
      arrived_ = 0;
      ++turn_;
      return;
    }
    for (int spins = 0; turn_.load(std::memory_order_acquire) == turn; ++spins)
      if (spins < 2000)
        _mm_pause();
      else
        std::this_thread::yield();
  }

 private:
  std::atomic<int> arrived_{0}, turn_{0};
};

// What a linear layer reads: rows in fp32, and in int8 with the scale and the sum of each row.
struct Input {
  float* wide;
  int8_t* small;
  float* scale;
  int32_t* total;
  int64_t stride;  // of both, in elements
};

template <int... I, class Work>
inline __attribute__((always_inline)) void unroll(std::integer_sequence<int, I...>, Work work) {
  (work(std::integral_constant<int, I>()), ...);
}

// Call `work` with the constants 0 to N - 1.
template <int N, class Work>
inline __attribute__((always_inline)) void unrolled(Work work) {
  unroll(std::make_integer_sequence<int, N>(), work);
}

template <int MOST, class Work>
inline void block(int64_t rows, int64_t first, Work& work) {
  if constexpr (MOST > 1)
    if (rows < MOST) return block<MOST - 1>(rows, first, work);
  work.template operator()<MOST>(first);
}

// Call `work.operator()<N>(first)` for blocks of N <= MOST rows, as even as they come.
template <int MOST = ROWS, class Work>
inline void in_blocks(int64_t rows, Work work) {
  int64_t blocks = (rows + MOST - 1) / MOST;
  for (int64_t each = 0; each < blocks; ++each) {
    int64_t first = rows * each / blocks, next = rows * (each + 1) / blocks;
    block<MOST>(next - first, first, work);
  }
}

// acc[r][c] += sum over k < depth of a[r][k] * b(k, c): the core of linear layers, scores and mixing alike.
template <int N, int C, class Load>
inline void multiply(V (&acc)[N][C], const float* a, int64_t stride, int64_t depth, Load b) {
  for (int64_t k = 0; k < depth; ++k) {
    V column[C];
    for (int c = 0; c < C; ++c) column[c] = b(k, c * LANES);
    for (int r = 0; r < N; ++r) {
      V x = set(a[r * stride + k]);
      for (int c = 0; c < C; ++c) acc[r][c] = fma(x, column[c], acc[r][c]);
    }
  }
}

// y = x * scales + bias, or added to what is there; of one row and LANES columns, `column` of the matrix and following.
inline void put(const Matrix& matrix, V x, int64_t column, float row_scale, float* y, bool adds) {
  float bias[LANES] = {}, scale[LANES];
  int count = (int)std::min<int64_t>(LANES, matrix.out - column);
  if (count <= 0) return;
  if (count == LANES) {
    if (matrix.scale) x = mul(x, mul(set(row_scale), load(matrix.scale + column)));
    if (matrix.bias) x = add(x, load(matrix.bias + column));
    store(y, adds ? add(x, load(y)) : x);
    return;
  }
  for (int i = 0; i < LANES; ++i) scale[i] = matrix.scale && i < count ? row_scale * matrix.scale[column + i] : 1.0f;
  if (matrix.bias) std::copy_n(matrix.bias + column, count, bias);
  float result[LANES];
  store(result, add(mul(x, load(scale)), load(bias)));
  for (int i = 0; i < count; ++i) y[i] = adds ? y[i] + result[i] : result[i];
}

struct Output {  // where panels go: the first of them to `y`; added to what is there, or not
  float* y;
  int64_t stride;
  bool adds;
};

template <int SIZE = PANEL, int C = WIDE, int MOST = ROWS, class Load>
void linear_wide(const Matrix& matrix, const Input& input, int64_t rows, const Share& share, const Output& out, Load at) {
  for (int64_t panel = share.begin; panel < share.end; ++panel) {
    float* y = out.y + (panel - share.begin) * SIZE;
    in_blocks<MOST>(rows, [&]<int N>(int64_t first) {
      for (int64_t column = 0; column < SIZE; column += C * LANES) {
        V acc[N][C];
        for (auto& row : acc)
          for (V& each : row) each = set(0.0f);
        multiply<N, C>(acc, input.wide + first * input.stride, input.stride, matrix.in,
                       [&](int64_t k, int64_t c) { return at((panel * matrix.in + k) * SIZE + column + c); });
        for (int r = 0; r < N; ++r)
          for (int c = 0; c < C; ++c)
            put(matrix, acc[r][c], panel * SIZE + column + c * LANES, matrix.scale ? input.scale[first + r] : 1.0f,
                y + (first + r) * out.stride + column + c * LANES, out.adds);
      }
    });
  }
}

#if defined(__AVX512VNNI__)
void linear_int8(const Matrix& matrix, const Input& input, int64_t rows, const Share& share, const Output& out) {
  const int64_t groups = (matrix.in + 3) / 4;
  for (int64_t panel = share.begin; panel < share.end; ++panel) {
    const uint8_t* weights = (const uint8_t*)matrix.data + panel * groups * PANEL * 4;
    float* y = out.y + (panel - share.begin) * PANEL;
    in_blocks<ROWS_INT8>(rows, [&]<int N>(int64_t first) {
      __m512i acc[N * 4];  // indices are constants everywhere, or GCC 12 keeps it in memory
      unrolled<N * 4>([&](auto i) __attribute__((always_inline)) { acc[i] = _mm512_set1_epi32(-128 * input.total[first + i / 4]); });
      const int8_t* x = input.small + first * input.stride;
      for (int64_t k = 0; k < groups; ++k) {
        __m512i column[4], same;
        unrolled<4>([&](auto c) __attribute__((always_inline)) { column[c] = _mm512_loadu_si512(weights + (k * 4 + c) * 64); });
        unrolled<N * 4>([&](auto i) __attribute__((always_inline)) {
          if constexpr (i % 4 == 0) {
            int32_t four;
            std::memcpy(&four, x + i / 4 * input.stride + k * 4, 4);
            same = _mm512_set1_epi32(four);
          }
          acc[i] = _mm512_dpbusd_epi32(acc[i], column[i % 4], same);
        });
      }
      unrolled<N * 4>([&](auto i) __attribute__((always_inline)) {
        put(matrix, _mm512_cvtepi32_ps(acc[i]), panel * PANEL + i % 4 * 16, input.scale[first + i / 4],
            y + (first + i / 4) * out.stride + i % 4 * 16, out.adds);
      });
    });
  }
}
#endif

// The panels of `share`.
void panels(const Matrix& matrix, const Input& input, int64_t rows, const Share& share, const Output& out) {
  const void* data = matrix.data;
  switch (matrix.kind) {
    case FP32: return linear_wide<panel_of(FP32), PAIR, ROWS_PAIR>(matrix, input, rows, share, out, [=](int64_t i) { return load((const float*)data + i); });
    case FP16: return linear_wide(matrix, input, rows, share, out, [=](int64_t i) { return load((const half*)data + i); });
    case BF16: return linear_wide(matrix, input, rows, share, out, [=](int64_t i) { return load_bf16((const uint16_t*)data + i); });
    default:
#if defined(__AVX512VNNI__)
      return linear_int8(matrix, input, rows, share, out);
#else
      return linear_wide(matrix, input, rows, share, out, [=](int64_t i) { return load((const int8_t*)data + i); });
#endif
  }
}

// This thread's part of y = x w^T + bias.
void linear(const Matrix& matrix, const Input& input, int64_t rows, float* y, int64_t stride, bool adds) {
  const int size = panel_of(matrix.kind);
  Share share(padded(matrix.out, size) / size);
  panels(matrix, input, rows, share, {y + share.begin * size, stride, adds});
}

struct Best {  // the largest of some numbers, the first of equal ones
  float value = -INFINITY;
  int64_t at = 0;

  void add(const float* y, int count, int64_t first) {
    V high = set(-INFINITY);
    int i = 0;
    for (; i + LANES <= count; i += LANES) high = max(high, load(y + i));
    float peak = largest(high);
    for (; i < count; ++i) peak = std::max(peak, y[i]);
    if (peak > value) {
      value = peak;
      at = first + (std::find(y, y + count, peak) - y);
    }
  }
};

// This thread's part of the logits, panel by panel, with the largest of each row while the panel lies in the cache.
void score(const Matrix& head, const Input& input, int64_t rows, float* logits, Best* best) {
  const int size = panel_of(head.kind);
  std::vector<float> panel(logits ? 0 : rows * size);
  for (Share share(padded(head.out, size) / size); share.begin < share.end; ++share.begin) {
    const int64_t first = share.begin * size;
    const Output out{logits ? logits + first : panel.data(), logits ? head.out : size, false};
    panels(head, input, rows, {share.begin, share.begin + 1}, out);
    for (int64_t row = 0; best && row < rows; ++row)
      best[row].add(out.y + row * out.stride, (int)std::min<int64_t>(size, head.out - first), first);
  }
}

// Rounds row `row` of `input.wide` to int8 by its own largest magnitude, when `matrix` wants it so.
void quantise(const Matrix& matrix, const Input& input, int64_t row) {
  if (matrix.kind != INT8) return;
  float* x = input.wide + row * input.stride;
  int8_t* q = input.small + row * input.stride;
  const int size = matrix.in;
  V high = set(0.0f);
  int i = 0;
  for (; i + LANES <= size; i += LANES) high = max(high, abs(load(x + i)));
  float peak = largest(high);
  for (; i < size; ++i) peak = std::max(peak, std::fabs(x[i]));
  const float factor = peak > 0.0f ? 127.0f / peak : 0.0f;
  for (i = 0; i < size; ++i) q[i] = (int8_t)std::nearbyint(x[i] * factor);
  int32_t total = 0;
  for (i = 0; i < size; ++i) total += q[i];
  for (i = size; i < padded(size, 4); ++i) q[i] = 0;
  input.scale[row] = peak / 127.0f;
  input.total[row] = total;
  if (GROUP == 1)
    for (i = 0; i < size; ++i) x[i] = q[i];
}

// The embedding of `token`.
void embed(const Model& model, int64_t token, float* y) {
  const int size = model.hidden;
  auto copy = [&](auto at, auto one) {
    int i = 0;
    for (; i + LANES <= size; i += LANES) store(y + i, at(token * size + i));
    for (; i < size; ++i) y[i] = one(token * size + i);
  };
  auto wide = [](uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
  };
  const auto *full = (const float*)model.embedding;
  const auto *narrow = (const uint16_t*)model.embedding;
  switch (model.embedding_kind) {
    case FP32: return copy([=](int64_t i) { return load(full + i); }, [=](int64_t i) { return full[i]; });
    case FP16: return copy([=](int64_t i) { return load(narrow + i); }, [=](int64_t i) { return _cvtsh_ss(narrow[i]); });
    default: return copy([=](int64_t i) { return load_bf16(narrow + i); }, [=](int64_t i) { return wide(narrow[i] << 16); });
  }
}

// RMS norm of one row; arXiv:1910.07467, equation 4.
void norm(const float* x, const float* weight, int size, float eps, float* y) {
  V squares = set(0.0f);
  int i = 0;
  for (; i + LANES <= size; i += LANES) squares = fma(load(x + i), load(x + i), squares);
  float total = sum(squares);
  for (; i < size; ++i) total += x[i] * x[i];
  const float factor = 1.0f / std::sqrt(total / size + eps);
  for (i = 0; i < size; ++i) y[i] = x[i] * factor * weight[i];
}

// silu(gate) * up of one row.
void gate(const float* gate_up, int size, float* y) {
  int i = 0;
  for (; i + LANES <= size; i += LANES) {
    V x = load(gate_up + i);
    V down = add(set(1.0f), exp(mul(x, set(-1.0f))));
    store(y + i, mul(div(x, down), load(gate_up + size + i)));
  }
  for (; i < size; ++i) {
    float x = std::max(gate_up[i], -87.0f);
    y[i] = gate_up[i] / (1.0f + std::exp(-x)) * gate_up[size + i];
  }
}

void rotate(float* head, const float* cos, const float* sin, int size) {
  const int middle = size / 2;
  for (int i = 0; i < middle; ++i) {
    const float left = head[i], right = head[i + middle];
    head[i] = left * cos[i] - right * sin[i];
    head[i + middle] = right * cos[i] + left * sin[i];
  }
}

// Turn queries and keys of one row in place, and write its K and V to their slot.
template <class T>
void append(const Model& model, const Layer& layer, const Step& step, int64_t row, float* qkv, T* keys, T* values) {
  const int size = model.head_dim, deep = padded(size, 16);
  const int64_t at = step.positions[row], slot = step.slots[row];
  const float *cos = model.cos + at * (size / 2), *sin = model.sin + at * (size / 2);
  for (int head = 0; head < model.heads + model.kv_heads; ++head) {
    float* states = qkv + head * size;
    const float* weight = head < model.heads ? layer.q_norm : layer.k_norm;
    if (weight) norm(states, weight, size, model.eps, states);
    rotate(states, cos, sin, size);
  }
  for (int head = 0; head < model.kv_heads; ++head) {
    const float* key = qkv + (model.heads + head) * size;
    const float* value = key + model.kv_heads * size;
    const int64_t plane = head * step.num_slots * deep;
    T* k = keys + plane + slot / 16 * 16 * deep + slot % 16;
    T* v = values + plane + slot * deep;
    for (int i = 0; i < size; ++i) k[i * 16] = narrow(key[i], k);
    for (int i = 0; i < size; ++i) v[i] = narrow(value[i], v);
  }
}

struct Part {  // rows [first, last) of one sequence's queries (token by token, head by head) on one KV head
  const Span* span;
  int64_t first, last;
  int head;
};

// Softmax over keys, online; arXiv:1805.02867, section 3.
template <class T>
void attend(const Model& model, const Layer& layer, const Step& step, const Part& part, const float* qkv, int64_t stride,
            const T* keys, const T* values, float* attended) {
  const Span& span = *part.span;
  const int size = model.head_dim, deep = padded(size, 16), group = model.heads / model.kv_heads;
  const int64_t rows = part.last - part.first, end = span.context + (part.last - 1) / group + 1;
  const int64_t oldest = span.context + part.first / group;
  const int64_t begin = layer.window ? std::max<int64_t>(0, oldest - layer.window + 1) / KEYS * KEYS : 0;
  alignas(64) float query[QUERIES * 256], mixed[QUERIES * 256], score[QUERIES * KEYS];
  alignas(64) static thread_local T spare[4][256 * 16];
  float peak[QUERIES], total[QUERIES];
  keys += part.head * step.num_slots * deep;
  values += part.head * step.num_slots * deep;
  const float scale = 1.0f / std::sqrt((float)size);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t token = (part.first + r) / group, head = part.head * group + (part.first + r) % group;
    const float* from = qkv + (span.start + token) * stride + head * size;
    for (int i = 0; i < size; ++i) query[r * deep + i] = from[i] * scale;
    std::fill_n(mixed + r * deep, deep, 0.0f);
    peak[r] = -1e30f;
    total[r] = 0.0f;
  }
  for (int64_t base = begin; base < end; base += KEYS) {
    const int64_t count = std::min<int64_t>(KEYS, end - base);
    const int64_t* slots = span.slots + base;
    const T *run[4], *value[KEYS];
    for (int g = 0; g < 4; ++g) {
      const int64_t known = std::min<int64_t>(16, count - g * 16);
      if (known <= 0) {
        run[g] = run[0];
      } else if (step.whole_groups) {
        run[g] = keys + slots[g * 16] / 16 * 16 * deep;
      } else {
        for (int64_t t = 0; t < known; ++t) {
          const T* from = keys + slots[g * 16 + t] / 16 * 16 * deep + slots[g * 16 + t] % 16;
          for (int i = 0; i < size; ++i) spare[g][i * 16 + t] = from[i * 16];
        }
        run[g] = spare[g];
      }
    }
    for (int64_t t = 0; t < count; ++t) value[t] = values + slots[t] * deep;
    in_blocks(rows, [&]<int N>(int64_t first) {
      for (int column = 0; column < padded(count, WIDE * LANES); column += WIDE * LANES) {
        V acc[N][WIDE];
        for (auto& row : acc)
          for (V& each : row) each = set(0.0f);
        multiply<N, WIDE>(acc, query + first * deep, deep, size, [&](int64_t k, int64_t c) {
          return load(run[(column + c) / 16] + k * 16 + (column + c) % 16);
        });
        for (int r = 0; r < N; ++r)
          for (int c = 0; c < WIDE; ++c) store(score + (first + r) * KEYS + column + c * LANES, acc[r][c]);
      }
    });
    for (int64_t r = 0; r < rows; ++r) {
      float* s = score + r * KEYS;
      const int64_t at = span.context + (part.first + r) / group;
      const int64_t stop = std::clamp<int64_t>(at + 1 - base, 0, KEYS);
      const int64_t from = layer.window ? std::clamp<int64_t>(at - layer.window + 1 - base, 0, stop) : 0;
      V high = set(peak[r]);
      std::fill(s, s + from, -1e30f);
      std::fill(s + stop, s + KEYS, -1e30f);
      for (int i = 0; i < KEYS; i += LANES) high = max(high, load(s + i));
      const float top = largest(high);
      const float shrink = peak[r] == top ? 1.0f : std::exp(peak[r] - top);
      V mass = set(0.0f);
      for (int i = 0; i < KEYS; i += LANES) store(s + i, exp(add(load(s + i), set(-top))));
      std::fill(s, s + from, 0.0f);
      std::fill(s + stop, s + KEYS, 0.0f);
      for (int i = 0; i < KEYS; i += LANES) mass = add(mass, load(s + i));
      total[r] = total[r] * shrink + sum(mass);
      peak[r] = top;
      if (shrink != 1.0f)
        for (int i = 0; i < deep; ++i) mixed[r * deep + i] *= shrink;
    }
    in_blocks(rows, [&]<int N>(int64_t first) {
      auto mix = [&]<int C>(int column) {
        V acc[N][C];
        float* out = mixed + first * deep + column;
        for (int r = 0; r < N; ++r)
          for (int c = 0; c < C; ++c) acc[r][c] = load(out + r * deep + c * LANES);
        multiply<N, C>(acc, score + first * KEYS, KEYS, count,
                       [&](int64_t k, int64_t c) { return load(value[k] + column + c); });
        for (int r = 0; r < N; ++r)
          for (int c = 0; c < C; ++c) store(out + r * deep + c * LANES, acc[r][c]);
      };
      int column = 0;
      for (; column + WIDE * LANES <= deep; column += WIDE * LANES) mix.template operator()<WIDE>(column);
      for (; column < deep; column += LANES) mix.template operator()<1>(column);
    });
  }
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t token = (part.first + r) / group, head = part.head * group + (part.first + r) % group;
    float* to = attended + (span.start + token) * model.heads * size + head * size;
    for (int i = 0; i < size; ++i) to[i] = mixed[r * deep + i] / total[r];
  }
}

struct Memory {  // intermediate results; grows, never shrinks
  std::vector<float> states, wide, wider, attended, scale;
  std::vector<int8_t> small;
  std::vector<int32_t> total;

  Input input(int64_t rows, int64_t columns) {
    const int64_t stride = padded(columns, 64);
    fit(wide, rows * stride);
    fit(small, rows * stride);
    fit(scale, rows);
    fit(total, rows);
    return {wide.data(), small.data(), scale.data(), total.data(), stride};
  }

  template <class T>
  static T* fit(std::vector<T>& buffer, size_t size) {
    if (buffer.size() < size) buffer.resize(size);
    return buffer.data();
  }
};

Memory& memory() {
  static thread_local Memory kept;
  return kept;
}

template <class T>
void run(const Model& model, const Step& step) {
  const int queries = model.heads * model.head_dim, group = model.heads / model.kv_heads;
  const int64_t stride = std::max(queries + 2 * model.kv_heads * model.head_dim, 2 * model.inner);
  const Input input = memory().input(step.tokens, std::max({model.hidden, model.inner, queries}));
  float* states = Memory::fit(memory().states, step.tokens * model.hidden);
  float* wider = Memory::fit(memory().wider, step.tokens * stride);
  float* attended = Memory::fit(memory().attended, step.tokens * queries);
  std::vector<Span> spans;
  for (int64_t row = 0; row < step.decodes; ++row)
    spans.push_back({row, 1, step.positions[row], step.table + step.entry[row] * step.table_width});
  spans.insert(spans.end(), step.span, step.span + step.spans);
  std::vector<Part> parts;
  for (const Span& span : spans)
    for (int64_t rows = span.count * group, first = 0; first < rows; first += QUERIES)
      for (int head = 0; head < model.kv_heads; ++head)
        parts.push_back({&span, first, std::min<int64_t>(first + QUERIES, rows), head});
  std::vector<std::atomic<size_t>> next(model.num_layers);
  std::vector<Best> best(step.largest ? model.threads * step.rows : 0);
  const int64_t plane = model.kv_heads * step.num_slots * padded(model.head_dim, 16);

  Barrier barrier;
#pragma omp parallel num_threads(model.threads)
  {
    int64_t rows = step.tokens;
    for (Share share(rows); share.begin < share.end; ++share.begin)
      embed(model, step.ids[share.begin], states + share.begin * model.hidden);
    auto normed = [&](const float* weight, const Matrix& matrix) {
      for (Share share(rows); share.begin < share.end; ++share.begin) {
        norm(states + share.begin * model.hidden, weight, model.hidden, model.eps, input.wide + share.begin * input.stride);
        quantise(matrix, input, share.begin);
      }
      barrier.wait();
    };
    for (int number = 0; number < model.num_layers; ++number) {
      const Layer& layer = model.layers[number];
      T *keys = (T*)step.keys + number * plane, *values = (T*)step.values + number * plane;
      normed(layer.input_norm, layer.qkv);
      linear(layer.qkv, input, rows, wider, stride, false);
      barrier.wait();
      for (Share share(rows); share.begin < share.end; ++share.begin)
        append(model, layer, step, share.begin, wider + share.begin * stride, keys, values);
      barrier.wait();
      for (size_t part; (part = next[number]++) < parts.size();)
        attend(model, layer, step, parts[part], wider, stride, keys, values, attended);
      barrier.wait();
      if (number == model.num_layers - 1) {  // the rest works row by row: only rows that sample need it
        rows = step.rows;
        if (omp_get_thread_num() == 0)
          for (int64_t row = 0; row < rows; ++row) {
            std::memmove(states + row * model.hidden, states + step.wanted[row] * model.hidden, model.hidden * 4);
            std::memmove(attended + row * queries, attended + step.wanted[row] * queries, queries * 4);
          }
        barrier.wait();
      }
      for (Share share(rows); share.begin < share.end; ++share.begin) {
        std::memcpy(input.wide + share.begin * input.stride, attended + share.begin * queries, queries * 4);
        quantise(layer.attended, input, share.begin);
      }
      barrier.wait();
      linear(layer.attended, input, rows, states, model.hidden, true);
      barrier.wait();
      normed(layer.inner_norm, layer.gate_up);
      linear(layer.gate_up, input, rows, wider, stride, false);
      barrier.wait();
      for (Share share(rows); share.begin < share.end; ++share.begin) {
        gate(wider + share.begin * stride, model.inner, input.wide + share.begin * input.stride);
        quantise(layer.down, input, share.begin);
      }
      barrier.wait();
      linear(layer.down, input, rows, states, model.hidden, true);
      barrier.wait();
    }
    normed(model.norm, model.head);
    score(model.head, input, rows, step.logits, step.largest ? best.data() + omp_get_thread_num() * rows : nullptr);
  }
  if (step.largest)
    for (int64_t row = 0; row < step.rows; ++row) {
      Best& first = best[row];
      for (int thread = 1; thread < model.threads; ++thread)  // in the order of their tokens
        if (const Best& other = best[thread * step.rows + row]; other.value > first.value) first = other;
      step.largest[row] = first.at;
    }
}

}  // namespace

extern "C" {

// int8 weights that one dot product takes together: how they must lie.
int32_t hasten_group() { return GROUP; }

// y = x w^T + bias for contiguous fp32 rows.
void hasten_linear(const Matrix* matrix, const float* x, int64_t rows, float* y, int32_t threads) {
  const Input input = memory().input(rows, matrix->in);
  Barrier barrier;
#pragma omp parallel num_threads(threads)
  {
    for (Share share(rows); share.begin < share.end; ++share.begin) {
      std::memcpy(input.wide + share.begin * input.stride, x + share.begin * matrix->in, matrix->in * 4);
      quantise(*matrix, input, share.begin);
    }
    barrier.wait();
    linear(*matrix, input, rows, y, matrix->out, false);
  }
}

// Compute one step: extends the KV cache, writes logits and their largest. Returns the first row whose token the model
// does not know, before anything is computed, or -1.
int64_t hasten_step(const Model* model, const Step* step) {
  for (int64_t row = 0; row < step->tokens; ++row)
    if (step->ids[row] < 0 || step->ids[row] >= model->head.out) return row;
  if (model->kv_kind == FP16)
    run<half>(*model, *step);
  else
    run<float>(*model, *step);
  return -1;
}

}  // extern "C"
