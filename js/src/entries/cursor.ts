// The cursor has no behaviour of its own: panels read and write its model.
export default {};
