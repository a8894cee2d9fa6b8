// What a solve of one network is given and what it leaves. Arrays are contiguous, `(rows, cols)`;
// segments of rows `(rows, cols + 1)`, of columns `(rows + 1, cols)`. A null pointer is none.
#pragma once

#include <cstddef>
#include <cstdint>

#include "team.h"

namespace xbarjax {

template <class T>
struct System {
  int rows, cols;
  const T *r_row, *r_col;           // [ohm] of segments, 0 to inf
  const T *g_rc, *g_cr;             // [S] of cells that are no shorts; no g_cr where it is g_rc
  const T *shunt_row, *shunt_col;   // [S] from every node to its reference
  const T *alpha, *beta, *cap;      // of shorts (network.py)
  bool hangs;                       // whether a node is held by next to nothing
  // how it is solved
  double rtol;                      // relative tolerance of a solve
  int64_t max_steps;                // of a pass
  bool mixed;                       // whether float64 systems are iterated in float32
  bool refine;                      // whether shorts and weak nodes are solved for again
  int hats_rows, hats_cols;         // of the coarse grid, 0 of none
  double slow;                      // N^2 r g from which it is used
  bool sound;                       // known: no near wire is broken, and no node pinned
  bool transposed;                  // whether cells put two currents into their nodes (network.py)

  // What a node sees of its cell [S].
  T own_row(size_t k) const { return transposed || !g_cr ? g_rc[k] : g_cr[k]; }
  T own_col(size_t k) const { return transposed && g_cr ? g_cr[k] : g_rc[k]; }
};

// A network that is looked at before it is solved.
template <class T>
struct Parts {
  int rows, cols;
  bool parallel;                   // whether lines of the row family run along the columns
  const T *r_row, *r_col;          // [ohm] of segments
  const T *g_rc, *g_cr;            // [S] of cells
  const T *shunt_row, *shunt_col;  // [S], null for none
};

template <class T>
struct Given {
  const T *row, *row_segments, *col, *col_segments, *cell;
  const T *guess;  // column drops to begin from
  double rtol;     // that is asked for, if more than that of the system
};

template <class T>
struct Found {
  T *row, *row_segments, *col, *col_segments, *cell;
  int32_t *steps;
  T *error;  // [V] that a node may be off by
};

// A solution that is to be judged (judgement.py). What is `left` of the laws is given as it is, or as
// the right-hand side of the vector that was solved for.
template <class T>
struct Claim {
  int rows, cols;
  bool parallel, of_vector;
  const T *r_row, *r_col, *g_rc, *g_cr, *shunt_row, *shunt_col, *alpha, *beta, *cap;  // as above
  const bool* open;
  struct { const T *row, *row_segments, *col, *col_segments, *cell; } left;
  const T *row, *row_segments, *col, *col_segments, *cell;  // the solution
  const T* injected;                       // [A]
  const T *v_row, *v_col, *e_row, *e_col;  // [V] of references and forces
  const T* sources;                        // [V]
  size_t count;                            // of them
  T error;                                 // [V] that a node may be off by
};

template <class T>
struct Verdict {
  T* residual;
  int32_t* status;
  bool *split, *lost;  // of shorts
};

// Solves networks one after the other, in memory of its own.
template <class T>
class Solver {
 public:
  virtual ~Solver() = default;
  virtual void prepare(const System<T>&, Team&) = 0;
  virtual void solve(const Given<T>&, const Found<T>&, Team&) = 0;
};

// A circuit of linear cells that see `v_row - v_col` alone, as it is given (assembly.py): nothing is
// cut out of it, and shorts are among its cells.
template <class T>
struct Circuit {
  System<T> system;                  // its wires, cells and shunts, and how it is solved
  const T *e_row, *e_col;            // [V] forces in segments
  const T *v_row, *v_col, *sources;  // [V] of references and sources
  size_t count;                      // of sources
  const T* guess;                    // column drops to begin from
};

// What a read of it finds (at_once.py).
template <class T>
struct Answer {
  T *row, *i_row, *col, *i_col, *i_cell;  // [V] drops, [A] of segments and cells
  bool *floating_row, *floating_col;      // nodes of islands
  bool *split_row, *split_col;            // lines whose current is open
  bool *split, *lost;                     // and of shorts
  T* residual;
  int32_t *status, *steps;
};

template <class T>
class Reader {
 public:
  virtual ~Reader() = default;
  // Looks at the network of a circuit, and prepares to solve it; `same_wires`: as those of the last.
  virtual void look(const Circuit<T>&, bool same_wires, Team&) = 0;
  // Reads a circuit of that network.
  virtual void read(const Circuit<T>&, const Answer<T>&, Team&) = 0;
};

// A circuit of nonlinear cells at a point of Newton's method (turns.py): what it is beside its
// cells, and what those are there.
template <class T>
struct Frame {
  System<T> system;                            // without cells
  const T *i_row, *i_col;                      // [A] of shunts at zero drops
  const T *e_row, *e_col;                      // [V] forces in segments
  const T *v_row, *v_col, *sources;            // [V] of references and sources
  size_t count;                                // of sources
  const T *current, *g_row, *g_col;            // of tangents
  bool symmetric;
  double rtol;
  int64_t most;                                // linearisations
};

// Where it is; a turn writes over it.
template <class T>
struct State {
  T *a, *w;
  Found<T> x;
  T *i, *g_cr, *g_rc, *here_a, *here_w, *here_i;
  Found<T> best;
  T *near, *far, *off, *rho_row, *rho_col;
  bool* floating;
  T *low, *high, *first, *last, *asked, *missed, *least;
  bool *is_x, *out, *converged, *ended;
  int32_t *look, *looked, *idle, *steps, *linear_steps;
};

}  // namespace xbarjax
