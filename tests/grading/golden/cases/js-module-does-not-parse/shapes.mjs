export const UNIT = ;
