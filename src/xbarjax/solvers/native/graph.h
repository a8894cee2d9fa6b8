// What is found out about a network before it is solved: the form in C++ of connectivity.py,
// `islands`, and shorts.py, `_kinds`, which say what it is for.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace xbarjax {

template <class T>
struct Parts {
  int rows, cols;
  bool parallel;                   // whether lines of the row family run along the columns
  const T *r_row, *r_col;          // [ohm] of segments
  const T *g_rc, *g_cr;            // [S] of cells
  const T *shunt_row, *shunt_col;  // [S], null for none
};

// Lines of one family: `count` of them, of `length` nodes. Segment `k` of line `l` is
// `r[k * r_along + l * r_across]`, node `k` is `k * along + l * across`.
struct Family {
  int count, length;
  size_t r_along, r_across, along, across;
};

template <class T>
Family row_family(const Parts<T>& p) {
  const size_t n = size_t(p.cols);
  if (p.parallel) return {p.cols, p.rows, n, 1, n, 1};
  return {p.rows, p.cols, 1, n + 1, 1, n};
}

template <class T>
Family col_family(const Parts<T>& p) {
  const size_t n = size_t(p.cols);
  return {p.cols, p.rows, n, 1, n, 1};
}

constexpr double FIRM = 1e-3, CAP = 100, KNIT = 0.05, SOLVED = 1e6, IDEAL = 1e30, BROKEN = 1e6;
constexpr int LOOKS = 8;

// connectivity.py, `_scale`.
template <class T>
T scale(const Parts<T>& p) {
  const T inf = std::numeric_limits<T>::infinity();
  const Family row = row_family(p), col = col_family(p);
  T most = 0;
  for (int i = 0; i < p.rows; ++i)
    for (int j = 0; j < p.cols; ++j) {
      const size_t q = size_t(i) * p.cols + j;
      const auto next_to = [](const T* r, const Family& of, int k, int l) {
        const size_t s = size_t(k) * of.r_along + size_t(l) * of.r_across;
        return std::min(r[s], r[s + of.r_along]);
      };
      const T r_row = p.parallel ? next_to(p.r_row, row, i, j) : next_to(p.r_row, row, j, i);
      const T r = (r_row + next_to(p.r_col, col, i, j)) / T(CAP);
      const T g = std::max(p.g_rc[q], p.g_cr[q]);
      const T limited = g == inf ? 1 / r : g / (1 + g * r);
      if (std::isfinite(limited)) most = std::max(most, limited);
    }
  return most;
}

// The range of numbers, and whether all of them are finite: in lanes, for that many at once.
template <class T>
struct Range {
  static constexpr int LANES = 16;
  T least[LANES] = {}, most[LANES] = {}, none[LANES] = {};
  void see(const T* x, size_t size) {
    size_t k = 0;
    for (; k + LANES <= size; k += LANES)
      for (int l = 0; l < LANES; ++l) {
        const T one = x[k + l];
        most[l] = one > most[l] ? one : most[l];
        least[l] = one < least[l] ? one : least[l];
        none[l] += one - one;  // NaN of inf and NaN
      }
    for (; k < size; ++k) {
      most[0] = std::max(most[0], x[k]), least[0] = std::min(least[0], x[k]);
      none[0] += x[k] - x[k];
    }
  }
  bool finite() const { return std::all_of(none, none + LANES, [](T x) { return x == 0; }); }
  T top() const { return *std::max_element(most, most + LANES); }
  bool negative() const { return *std::min_element(least, least + LANES) < 0; }
};

// The largest resistance [ohm] of a segment between the near end of a line and a node of it; infinite
// where one is open.
template <class T>
T near(const Parts<T>& p) {
  const size_t m = size_t(p.rows), n = size_t(p.cols);
  Range<T> seen;
  if (p.parallel)
    seen.see(p.r_row, m * n);
  else
    for (size_t i = 0; i < m; ++i) seen.see(p.r_row + i * (n + 1), n);
  seen.see(p.r_col + n, m * n);
  return seen.finite() ? seen.top() : std::numeric_limits<T>::infinity();
}

// Nodes with a path to a terminal of conductances of more than `least`: spread from node to node.
template <class T>
void spread(const Parts<T>& p, T least, bool* row, bool* col) {
  const size_t nodes = size_t(p.rows) * p.cols;
  if (near(p) * least < 1) {  // not of inf times 0: every line is whole
    std::fill(row, row + nodes, true), std::fill(col, col + nodes, true);
    return;
  }
  const Family families[] = {row_family(p), col_family(p)};
  const T* wires[] = {p.r_row, p.r_col};
  const T* shunts[] = {p.shunt_row, p.shunt_col};
  bool* found[] = {row, col};
  std::vector<size_t> open;  // nodes of both families whose neighbours have not been looked at
  const auto reach = [&](int family, size_t q) {
    if (found[family][q]) return;
    found[family][q] = true;
    open.push_back(2 * q + size_t(family));
  };
  const auto linked = [&](T r) { return r * least < 1; };  // not of inf times 0
  // first along the wires, from both ends of every line: mostly that is all
  bool all = true;
  for (int family = 0; family < 2; ++family) {
    const Family& of = families[family];
    bool* nodes_found = found[family];
    std::fill(nodes_found, nodes_found + nodes, false);
    std::vector<char> linked_so_far(size_t(of.count));
    for (int way = 0; way < 2; ++way) {
      std::fill(linked_so_far.begin(), linked_so_far.end(), char(1));
      const auto step = [&](int k, int l) {
        const int node = way ? of.length - 1 - k : k;
        const size_t segment = size_t(way ? node + 1 : node);
        const T r = wires[family][segment * of.r_along + size_t(l) * of.r_across];
        char& so_far = linked_so_far[size_t(l)];
        so_far = char(so_far && linked(r));
        bool& here = nodes_found[size_t(node) * of.along + size_t(l) * of.across];
        here = here || so_far;
      };
      if (of.along == 1)
        for (int l = 0; l < of.count; ++l)
          for (int k = 0; k < of.length; ++k) step(k, l);
      else
        for (int k = 0; k < of.length; ++k)
          for (int l = 0; l < of.count; ++l) step(k, l);
    }
    if (shunts[family])
      for (size_t q = 0; q < nodes; ++q)
        nodes_found[q] = nodes_found[q] || shunts[family][q] > least;
    all = all && std::all_of(nodes_found, nodes_found + nodes, [](bool x) { return x; });
  }
  if (all) return;
  for (int family = 0; family < 2; ++family)
    for (size_t q = 0; q < nodes; ++q)
      if (found[family][q]) open.push_back(2 * q + size_t(family));
  while (!open.empty()) {
    const size_t node = open.back();
    open.pop_back();
    const int family = int(node % 2);
    const size_t q = node / 2;
    const Family& of = families[family];
    const size_t i = q / size_t(p.cols), j = q % size_t(p.cols);
    const bool by_rows = family == 0 && !p.parallel;
    const size_t k = by_rows ? j : i, l = by_rows ? i : j;
    const T* r = wires[family] + l * of.r_across + k * of.r_along;
    if (k > 0 && linked(r[0])) reach(family, q - of.along);
    if (k + 1 < size_t(of.length) && linked(r[of.r_along])) reach(family, q + of.along);
    if (std::max(p.g_rc[q], p.g_cr[q]) > least) reach(1 - family, q);
  }
}

// connectivity.py, `islands`: nodes that are grounded, and whether one is held by next to nothing.
template <class T>
void islands(const Parts<T>& p, bool* row, bool* col, bool* hangs) {
  const size_t nodes = size_t(p.rows) * p.cols;
  // no cell is seen to conduct more than it does
  Range<T> cells;
  cells.see(p.g_rc, nodes);
  if (p.g_cr != p.g_rc) cells.see(p.g_cr, nodes);
  *hangs = false;
  if (cells.finite() && !cells.negative() && near(p) * T(FIRM) * cells.top() < 1) {
    std::fill(row, row + nodes, true), std::fill(col, col + nodes, true);
    return;
  }
  spread(p, T(0), row, col);
  std::vector<char> firm(2 * nodes);
  bool* firm_row = reinterpret_cast<bool*>(firm.data());
  bool* firm_col = firm_row + nodes;
  spread(p, T(FIRM) * scale(p), firm_row, firm_col);
  for (size_t q = 0; q < nodes; ++q)
    *hangs = *hangs || (row[q] && !firm_row[q]) || (col[q] && !firm_col[q]);
}

// shorts.py, `_along`.
template <class T>
T along(const T* r, const Family& of) {
  const size_t count = size_t(of.count), length = size_t(of.length);
  std::vector<T> inner(count, T(0));
  if (of.r_along == 1)
    for (size_t l = 0; l < count; ++l) {
      const T* line = r + l * of.r_across;
      for (size_t k = 1; k < length; ++k) inner[l] += line[k];
    }
  else
    for (size_t k = 1; k < length; ++k)
      for (size_t l = 0; l < count; ++l) inner[l] += r[k * of.r_along + l];
  T most = 0;
  for (size_t l = 0; l < count; ++l) {
    const T* line = r + l * of.r_across;
    const T total = inner[l] + std::min(line[0], line[length * of.r_along]);
    most = total > most || total != total ? total : most;
  }
  return most;
}

// Conductances from every node into its line, both ways, without its own shunt (ladder.py,
// `around`), and from them resistances: `1 / (around + own)`.
template <class T>
void yields(const T* r, const Family& of, const T* shunt, const T* own, T* rho) {
  const T inf = std::numeric_limits<T>::infinity();
  const auto seen = [inf](T r, T s) {
    const T a = r > T(BROKEN) ? T(BROKEN) / r : T(1), beta = r > T(BROKEN) ? T(BROKEN) : r;
    if (s == inf) return a == 0 ? T(0) : a / beta;
    const T total = a + beta * s;
    return a * s / (total == 0 ? T(1) : total);
  };
  for (int l = 0; l < of.count; ++l) {
    const T* line = r + size_t(l) * of.r_across;
    const size_t first = size_t(l) * of.across;
    T s = inf;
    for (int k = of.length - 1; k >= 0; --k) {
      const size_t q = first + size_t(k) * of.along;
      const T t = seen(line[size_t(k + 1) * of.r_along], s);
      rho[q] = t;
      s = t + shunt[q];
    }
    s = inf;
    for (int k = 0; k < of.length; ++k) {
      const size_t q = first + size_t(k) * of.along;
      const T t = seen(line[size_t(k) * of.r_along], s);
      rho[q] = 1 / (rho[q] + t + (own ? own[q] : T(0)));
      s = t + shunt[q];
    }
  }
}

// shorts.py, `_kinds`: which cells are shorts, their conductance for a solver, and which of them
// may share their current with ideal wires.
template <class T>
void kinds(const Parts<T>& p, bool* shorts, T* cap, bool* open) {
  const T inf = std::numeric_limits<T>::infinity();
  const size_t nodes = size_t(p.rows) * p.cols;
  const Family families[] = {row_family(p), col_family(p)};
  const T* wires[] = {p.r_row, p.r_col};
  const T* shunts[] = {p.shunt_row, p.shunt_col};
  std::fill(shorts, shorts + nodes, false);
  std::fill(open, open + nodes, false);
  std::fill(cap, cap + nodes, T(0));
  T most = 0;
  for (size_t q = 0; q < nodes; ++q)
    most = p.g_rc[q] > most || p.g_rc[q] != p.g_rc[q] ? p.g_rc[q] : most;
  // false of inf times 0, too
  if (most * (along(p.r_row, families[0]) + along(p.r_col, families[1])) <= T(CAP)) return;

  std::vector<T> knit[2], least(nodes), shunt(nodes), found[2][3], before[2][3];
  for (int family = 0; family < 2; ++family) {
    const Family& of = families[family];
    knit[family].assign(wires[family], wires[family] + size_t(of.count) * (of.length + 1));
    for (int l = 0; l < of.count; ++l) {
      T* line = knit[family].data() + size_t(l) * of.r_across;
      T best = inf;
      for (int k = 0; k <= of.length; ++k) {
        const T r = line[size_t(k) * of.r_along];
        if (r > 0 && std::isfinite(r)) best = std::min(best, r);
      }
      best *= T(KNIT);
      for (int k = 0; k <= of.length; ++k) {
        T& r = line[size_t(k) * of.r_along];
        if (r == 0 && std::isfinite(best)) r = best;
      }
    }
    for (int kind = 0; kind < 3; ++kind) found[family][kind].assign(nodes, T(0));
  }
  for (size_t q = 0; q < nodes; ++q) least[q] = 1 / std::min(p.g_rc[q], T(IDEAL));
  for (int look = 0; look < LOOKS; ++look) {
    for (int family = 0; family < 2; ++family)
      for (int kind = 0; kind < 3; ++kind) before[family][kind] = found[family][kind];
    for (int family = 0; family < 2; ++family)
      for (int kind = 0; kind < 3; ++kind) {
        const T* own = shunts[family];
        const std::vector<T>& other = before[1 - family][kind];
        for (size_t q = 0; q < nodes; ++q) {
          shunt[q] = own ? own[q] : T(0);
          if (kind) shunt[q] += 1 / (least[q] + other[q]);
        }
        const T* r = kind == 2 ? knit[family].data() : wires[family];
        yields(r, families[family], shunt.data(), own, found[family][kind].data());
      }
  }
  const auto finite = [inf](T x) { return std::abs(x) == inf ? T(0) : x; };
  for (size_t q = 0; q < nodes; ++q) {
    T both[3];
    for (int kind = 0; kind < 3; ++kind)
      both[kind] = finite(found[0][kind][q]) + finite(found[1][kind][q]);
    const T alone = both[0], beside = both[1], rho = both[2];
    const bool held =
        alone == 0 && std::isfinite(found[0][0][q]) && std::isfinite(found[1][0][q]);
    const T g = std::min(p.g_rc[q], T(IDEAL));
    const bool shared = g * beside <= T(CAP);
    bool one = g * rho > T(CAP) && (!shared || g * alone > T(SOLVED));
    one = p.g_rc[q] == inf || (held ? g > 0 : one);
    shorts[q] = one;
    cap[q] = one && !held ? (rho > 0 ? T(CAP) / rho : T(1)) : T(0);
    open[q] = one && shared && !held;
  }
}

}  // namespace xbarjax
